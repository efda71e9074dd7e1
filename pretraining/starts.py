"""Where training starts from: near plain interpolation, or near a trained network of another scale.

Both save most of the time that a fresh network would take to reproduce its own input.
"""

from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.espcn import Espcn
from models.wdsr import Wdsr

_COLOURS = 3
_SHARE_OF_FEATURES = 0.1


@torch.no_grad()
def start_near_interpolation(network: nn.Module) -> None:
    """Set a fresh RGB network, in place, so that it starts near bicubic interpolation.

    ESPCN gets a path of three features that carry the picture's colours through (they are not negative, so ReLU
    leaves them alone); WDSR has such a path in its skip convolution. The other networks are left as they are:
    SRCNN and VDSR interpolate by themselves.
    """
    if isinstance(network, Espcn):
        _carry_colours_through(network)
    elif isinstance(network, Wdsr):
        network.skip.weight.copy_(_per_colour(_bicubic_kernels(network.scale, size=5)))
        network.tail.weight.mul_(_SHARE_OF_FEATURES)


@torch.no_grad()
def start_from_other_scale(network: nn.Module, trained: nn.Module) -> None:
    """Copy the weights of a trained x2 network of the same architecture, in place.

    Layers that feed a pixel shuffle differ in their outputs: each sub-pixel starts at the linear interpolation of the
    trained network's two sub-pixels beside it. What the trained network lacks stays fresh.
    """
    state = network.state_dict()
    known = {key: value for key, value in trained.state_dict().items() if key in state}
    network.load_state_dict(state | {key: _fitted(value, like=state[key]) for key, value in known.items()})


def _carry_colours_through(network: Espcn) -> None:
    colours = torch.arange(_COLOURS)
    for layer in network.features:
        if isinstance(layer, nn.Conv2d):
            layer.weight[:_COLOURS] = 0
            layer.weight[colours, colours, 1, 1] = 1
            _clear_bias(layer)
    kernels = _bicubic_kernels(network.scale, size=3)
    network.upsample.weight.mul_(_SHARE_OF_FEATURES)
    network.upsample.weight[:, :_COLOURS] = _per_colour(kernels)
    _clear_bias(network.upsample)


def _clear_bias(layer: nn.Conv2d) -> None:
    assert layer.bias is not None
    layer.bias.zero_()


def _bicubic_kernels(scale: int, *, size: int) -> Tensor:
    """What each sub-pixel of bicubic interpolation takes from its surroundings: (scale**2, size, size), of sum 1."""
    reach, centre = size // 2, size
    impulses = torch.zeros(size * size, 1, 2 * size + 1, 2 * size + 1)
    for index, (row, column) in enumerate(product(range(-reach, reach + 1), repeat=2)):
        impulses[index, 0, centre + row, centre + column] = 1
    responses = F.interpolate(impulses, scale_factor=float(scale), mode="bicubic", align_corners=False)
    cell = slice(centre * scale, (centre + 1) * scale)
    kernels = responses[:, 0, cell, cell].permute(1, 2, 0).reshape(scale**2, size, size)
    return kernels / kernels.sum(dim=(1, 2), keepdim=True)


def _per_colour(kernels: Tensor) -> Tensor:
    """Kernels (n, size, size) -> (3 * n, 3, size, size): each colour from itself alone."""
    weight = torch.zeros(_COLOURS, kernels.shape[0], _COLOURS, *kernels.shape[1:])
    for colour in range(_COLOURS):
        weight[colour, :, colour] = kernels
    return weight.flatten(0, 1)


def _fitted(trained: Tensor, *, like: Tensor) -> Tensor:
    if trained.shape == like.shape:
        return trained
    scale = round((like.shape[0] / trained.shape[0] * 4) ** 0.5)
    # Positions of the new sub-pixels, in units of the two trained ones; the outermost are extrapolated.
    positions = (torch.arange(scale) + 0.5) * 2 / scale - 0.5
    mixing = torch.stack([1 - positions, positions], dim=1)
    sub_pixels = trained.reshape(-1, 2, 2, trained[0].numel())
    mixed = torch.einsum("yi,xj,cijn->cyxn", mixing, mixing, sub_pixels)
    return mixed.reshape(like.shape)
