"""Rounding of weights for delivery."""

from __future__ import annotations

import numpy as np
import torch

from workers.weight_coding import delivered_weights, quantise_int8


def _weights(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, (16, 12, 3, 3)).astype(np.float32)


def test_each_weight_goes_to_a_whole_number_beside_it() -> None:
    weights = _weights()
    coded = quantise_int8(weights)
    assert (np.abs(coded.decoded() - weights) <= coded.steps[:, None, None, None] * 1.0001).all()


def test_the_sum_of_each_filter_is_kept() -> None:
    weights = _weights()
    coded = quantise_int8(weights)
    difference = coded.decoded().sum(axis=(1, 2, 3)) - weights.sum(axis=(1, 2, 3))
    assert (np.abs(difference) <= 0.51 * coded.steps).all()
    # Rounding to nearest does not keep it: the sums of 108 rounding errors spread over some steps.
    nearest = np.rint(weights / coded.steps[:, None, None, None]) * coded.steps[:, None, None, None]
    assert np.abs(nearest.sum(axis=(1, 2, 3)) - weights.sum(axis=(1, 2, 3))).max() > 2 * coded.steps.max()


def test_the_largest_weight_of_a_channel_takes_the_whole_range() -> None:
    coded = quantise_int8(_weights())
    assert (np.abs(coded.values).max(axis=(1, 2, 3)) == 127).all()


def test_a_channel_of_zeros_stays_zero() -> None:
    weights = _weights()
    weights[3] = 0
    assert not quantise_int8(weights).decoded()[3].any()


def test_half_precision_and_biases() -> None:
    weights = {"conv.weight": torch.from_numpy(_weights()), "conv.bias": torch.tensor([0.1, 0.2])}
    assert torch.equal(delivered_weights(weights, "int8")["conv.bias"], weights["conv.bias"])
    assert torch.equal(delivered_weights(weights, "fp16")["conv.weight"], weights["conv.weight"].half().float())
    assert torch.equal(delivered_weights(weights, "fp32")["conv.weight"], weights["conv.weight"])
