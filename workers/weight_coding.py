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
    """Symmetric, per output channel, the step so that the channel's largest weight is 127 of them.

    Each weight goes to one of the two whole numbers around it, chosen so that a filter's sum is kept: pictures are
    smooth, so that what rounding adds to the sum shifts whole areas, where single errors average out. Rounding to
    nearest instead loses some 3 dB on an overfitted ESPCN (docs/EXPERIMENTS.md).
    """
    largest = np.abs(weights).max(axis=(1, 2, 3))
    # A channel of zeros has no step of its own; any will do.
    steps = np.where(largest > 0, largest / _INT8_LIMIT, 1).astype(np.float32)
    exact = (weights / steps[:, None, None, None]).reshape(*weights.shape[:2], -1).astype(np.float64)
    values = np.clip(_round_keeping_sums(exact), -_INT8_LIMIT, _INT8_LIMIT)
    return Int8Weights(values=values.reshape(weights.shape).astype(np.int8), steps=steps)


def _round_keeping_sums(exact: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(out, in, taps) to whole numbers: the sum of each kernel is kept to within one, and so is that of all before it.

    Kernel by kernel, the weights that were rounded furthest go the other way until the sum fits; what is left over is
    carried on to the next input channel.
    """
    rounded = np.rint(exact)
    carried = np.zeros(len(exact))
    for channel in range(exact.shape[1]):
        error = rounded[:, channel] - exact[:, channel]
        excess = error.sum(axis=1) + carried
        moves = np.clip(np.rint(excess), -exact.shape[2], exact.shape[2])
        direction = np.sign(moves)
        # The place of each weight in the order in which it would be moved.
        place = np.argsort(np.argsort(-error * direction[:, None], axis=1, kind="stable"), axis=1)
        rounded[:, channel] -= np.where(place < np.abs(moves)[:, None], direction[:, None], 0)
        carried = excess - moves
    return rounded


def delivered_weights(weights: dict[str, Tensor], precision: Precision) -> dict[str, Tensor]:
    """The weights as a client decodes them from the delivered file. Biases stay float32 where weights are int8."""
    return {key: _delivered(value, precision) for key, value in weights.items()}


def _delivered(tensor: Tensor, precision: Precision) -> Tensor:
    if precision == "fp32":
        return tensor
    if precision == "fp16":
        return tensor.half().float()
    return torch.from_numpy(quantise_int8(tensor.numpy()).decoded()) if tensor.ndim == 4 else tensor
