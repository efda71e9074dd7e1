"""How weights are rounded for delivery: the same values for torch and for the ONNX file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Precision = Literal["int8", "fp16", "fp32"]
_INT8_LIMIT = 127


@dataclass(frozen=True, kw_only=True, eq=False)
class Int8Weights:
    """A convolution's weights as whole numbers, times one step for each output channel."""

    values: npt.NDArray[np.int8]
    """(out, in, height, width), -127 to 127"""
    steps: npt.NDArray[np.float32]
    """(out,)"""

    def decoded(self) -> npt.NDArray[np.float32]:
        """What ONNX's DequantizeLinear makes of them."""
        return self.values.astype(np.float32) * self.steps[:, None, None, None]


def quantise_int8(weights: npt.NDArray[np.float32]) -> Int8Weights:
    """Symmetric, per output channel, the step so that the channel's largest weight is 127 of them."""
    largest = np.abs(weights).max(axis=(1, 2, 3))
    # A channel of zeros has no step of its own; any will do.
    steps = np.where(largest > 0, largest / _INT8_LIMIT, 1).astype(np.float32)
    values = np.rint(weights / steps[:, None, None, None])
    return Int8Weights(values=np.clip(values, -_INT8_LIMIT, _INT8_LIMIT).astype(np.int8), steps=steps)


def delivered_weights(weights: dict[str, Tensor], precision: Precision) -> dict[str, Tensor]:
    """The weights as a client decodes them from the delivered file. Biases stay float32 where weights are int8."""
    return {key: _delivered(value, precision) for key, value in weights.items()}


def _delivered(tensor: Tensor, precision: Precision) -> Tensor:
    if precision == "fp32":
        return tensor
    if precision == "fp16":
        return tensor.half().float()
    return torch.from_numpy(quantise_int8(tensor.numpy()).decoded()) if tensor.ndim == 4 else tensor
