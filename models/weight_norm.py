"""Weight norm (Salimans and Kingma, 2016): every filter as a length times a direction, which WDSR trains with."""

from torch import nn
from torch.nn.utils import parametrizations, parametrize


def add_weight_norm(network: nn.Module) -> None:
    """Re-parametrise every convolution of the network, in place, at its present weights: the outputs stay the same.

    A filter that is all zeros has no direction and would give NaN; fresh and trained networks have none.
    """
    for layer in _convolutions(network):
        parametrizations.weight_norm(layer)


def fold_weight_norm(network: nn.Module) -> None:
    """Turn the weight-normed convolutions of the network back into plain ones, in place; plain ones are left alone."""
    for layer in _convolutions(network):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def _convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)]
