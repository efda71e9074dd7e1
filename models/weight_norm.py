"""Weight norm (Salimans and Kingma, 2016): every filter as a length times a direction, which WDSR trains with."""

import copy

import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize


def add_weight_norm(network: nn.Module) -> None:
    """Re-parametrise every convolution of the network, in place, at its present weights: the outputs stay the same.

    A filter that is all zeros has no direction and would give NaN; fresh and trained networks have none.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            parametrizations.weight_norm(layer)


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
