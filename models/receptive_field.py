"""How far a network sees: a patch's halo of at least so many pixels makes its borders exact."""

import torch
from torch import nn

from models.layers import BicubicEnlargement
from models.registry import build_network


def receptive_radius(architecture: str, scale: int) -> int:
    """How many pixels of the base frame away an output pixel still depends on, at most, in either direction.

    An output pixel of a base pixel is followed back through the layers, as an interval of positions that it depends on.

    Raises:
        UnknownArchitectureError: no architecture has this name.
        UnsupportedScaleError: scale is not 1, 2, 3 or 4.
    """
    layers = _layers_in_order(architecture, scale)
    reaches = [_dependencies(layers, position) for position in range(scale)]
    return max(max(-first, last) for first, last in reaches)


def _layers_in_order(architecture: str, scale: int) -> list[nn.Module]:
    """The layers from input to output: every network registers them in that order."""
    with torch.device("meta"):
        network = build_network(architecture, scale=scale, channels="luma")
    # WDSR's 5x5 convolution lies beside the body, which sees farther at any number of blocks.
    return [layer for name, layer in network.named_modules() if name != "skip"]


def _dependencies(layers: list[nn.Module], position: int) -> tuple[int, int]:
    """First and last base pixel, of a row, that the output pixel at `position` depends on."""
    first = last = position
    for layer in reversed(layers):
        if isinstance(layer, nn.Conv2d):
            radius = layer.kernel_size[0] // 2
            first, last = first - radius, last + radius
        elif isinstance(layer, nn.PixelShuffle):
            first, last = first // layer.upscale_factor, last // layer.upscale_factor
        elif isinstance(layer, BicubicEnlargement):
            taps = [_bicubic_taps(enlarged, layer.scale) for enlarged in range(first, last + 1)]
            first, last = min(tap for tap, _ in taps), max(tap for _, tap in taps)
    return first, last


def _bicubic_taps(position: int, scale: int) -> tuple[int, int]:
    """First and last pixel of a row that bicubic interpolation makes the enlarged pixel at `position` of.

    Its centre lies at (position + 1/2) / scale - 1/2: just on a pixel, which is then copied, or between two, of whose
    surroundings four are mixed.
    """
    before, rest = divmod(2 * position + 1 - scale, 2 * scale)
    return (before, before) if rest == 0 else (before - 1, before + 2)
