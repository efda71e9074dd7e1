"""How weights are written for delivery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Precision = Literal["int8", "fp16", "fp32"]
INT8_LIMIT = 127


@dataclass(frozen=True, kw_only=True, eq=False)
class Int8Weights:
    """A convolution's weights as whole numbers, times one quantisation scale for each output channel."""

    values: Tensor
    """(out, in, height, width) int8, -127 to 127"""
    scales: Tensor
    """(out,) float32"""

    def decoded(self) -> Tensor:
        """What ONNX's DequantizeLinear makes of them: float32."""
        return self.values.float() * self.scales[:, None, None, None]


@dataclass(frozen=True, kw_only=True, eq=False)
class RoundedNetwork:
    """A network's convolutions as they are delivered in int8."""

    weights: dict[str, Int8Weights]
    """By their names in the network's state."""
    biases: dict[str, Tensor]
    """The float32 biases that go with the rounded weights, likewise."""

    def decoded(self) -> dict[str, Tensor]:
        """All of it in float32, by the names in the network's state."""
        return {name: coded.decoded() for name, coded in self.weights.items()} | self.biases


def int8_scales(weights: Tensor) -> Tensor:
    """The quantisation scale of each output channel, (out,) float32: the channel's largest weight is 127 of it."""
    largest = weights.detach().abs().amax(dim=(1, 2, 3))
    # A channel of zeros has no scale of its own; any will do.
    return torch.where(largest > 0, largest / INT8_LIMIT, torch.ones_like(largest)).float()
