"""What a network costs: parameters to deliver, multiply-accumulates to run."""

import copy
import math

import torch
from torch import Tensor, nn


def parameter_count(network: nn.Module) -> int:
    """Number of trained values, biases included."""
    return sum(parameter.numel() for parameter in network.parameters())


def multiply_accumulates(network: nn.Module, *, base_height: int, base_width: int) -> int:
    """Multiply-accumulates of all convolutions for one base frame of base_height x base_width pixels.

    Interpolation, activations and biases are not counted, as in the STDO paper's Table 3. Measured by a forward pass
    on torch's meta device, which computes shapes alone.
    """
    counts: list[int] = []

    def count(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        per_value = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
        counts.append(output[0].numel() * per_value)

    shadow = copy.deepcopy(network).to("meta")
    layers = [layer for layer in shadow.modules() if isinstance(layer, nn.Conv2d)]
    for layer in layers:
        layer.register_forward_hook(count)
    with torch.no_grad():
        shadow(torch.zeros(1, layers[0].in_channels, base_height, base_width, device="meta"))
    return sum(counts)
