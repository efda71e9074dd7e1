"""Weight norm (Salimans and Kingma, 2016): every filter as a length times a direction, which WDSR trains with."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize


def add_weight_norm(network: nn.Module) -> None:
    """Re-parametrise every convolution of the network, in place, at its present weights: the outputs stay the same.

    A filter that is all zeros (the fresh networks of scale 1 have some) gets length 0 and a direction drawn at random,
    the same one every time.
    """
    generator = torch.Generator().manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            is_zero = (layer.weight == 0).flatten(1).all(dim=1)
            parametrizations.weight_norm(layer)
            if is_zero.any():
                _set_direction(layer, is_zero, generator)


def fold_weight_norm(network: nn.Module) -> nn.Module:
    """A copy of the network with plain convolutions in place of weight-normed ones; the outputs stay the same.

    The network itself is left as it is, so that this may be called in the middle of training. (torch's own
    remove_parametrizations works on the class that a module shares with its copies, and breaks those.)
    """
    folded = copy.deepcopy(network)
    for name, layer in list(folded.named_modules()):
        if isinstance(layer, nn.Conv2d) and parametrize.is_parametrized(layer, "weight"):
            folded.set_submodule(name, _plain_convolution(layer))
    return folded


@torch.no_grad()
def _set_direction(layer: nn.Module, filters: Tensor, generator: torch.Generator) -> None:
    """Give some filters of a weight-normed convolution a direction, and length 0.

    Args:
        filters: (out,) bool
    """
    parametrized = layer.get_submodule("parametrizations.weight")
    length, direction = parametrized.get_parameter("original0"), parametrized.get_parameter("original1")
    drawn = torch.randn(direction.shape, generator=generator).to(direction)
    direction[filters] = drawn[filters]
    length[filters] = 0


@torch.no_grad()
def _plain_convolution(layer: nn.Conv2d) -> nn.Conv2d:
    plain = nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,  # type: ignore[arg-type]
        stride=layer.stride,  # type: ignore[arg-type]
        padding=layer.padding,  # type: ignore[arg-type]
        bias=layer.bias is not None,
    ).to(layer.weight)
    plain.weight.copy_(layer.weight)
    if plain.bias is not None and layer.bias is not None:
        plain.bias.copy_(layer.bias)
    return plain
