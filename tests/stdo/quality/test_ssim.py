"""SSIM against its definition, window by window."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from stdo.bundle.codecs import BitDepth
from stdo.bundle.geometry import peak, sample_type
from stdo.quality.ssim import LumaStatistics, ssim

Plane = npt.NDArray[np.uint8 | np.uint16]


def _measured(reference: Plane, restored: Plane, bit_depth: BitDepth = 8) -> float:
    return ssim(LumaStatistics.of(reference, bit_depth=bit_depth), LumaStatistics.of(restored, bit_depth=bit_depth))


def _definition(reference: Plane, restored: Plane, bit_depth: BitDepth = 8) -> float:
    """Wang et al. 2004, over real numbers, in a loop."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, np.newaxis] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * peak(bit_depth)) ** 2, (0.03 * peak(bit_depth)) ** 2
    values = []
    for top in range(reference.shape[0] - 10):
        for left in range(reference.shape[1] - 10):
            a = reference[top : top + 11, left : left + 11].astype(float)
            b = restored[top : top + 11, left : left + 11].astype(float)
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            variance_a, variance_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
            covariance = (window * (a - mean_a) * (b - mean_b)).sum()
            luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
            values.append(luminance * (2 * covariance + c2) / (variance_a + variance_b + c2))
    return float(np.mean(values))


def _noisy(plane: Plane, strength: int, bit_depth: BitDepth = 8) -> Plane:
    noise = np.random.default_rng(4).integers(-strength, strength + 1, plane.shape)
    noisy: Plane = np.clip(plane + noise, 0, peak(bit_depth)).astype(plane.dtype)
    return noisy


@pytest.mark.parametrize(("height", "width"), [(11, 11), (43, 30), (12, 77)])
@pytest.mark.parametrize("strength", [2, 40, 255])
@pytest.mark.parametrize("bit_depth", [8, 10])
def test_ssim_is_its_definition(height: int, width: int, strength: int, bit_depth: BitDepth) -> None:
    rows, columns = np.mgrid[:height, :width]
    levels = (128 + 100 * np.sin(rows / 3) * np.cos(columns / 5)) * 2 ** (bit_depth - 8)
    reference = levels.astype(sample_type(bit_depth))
    restored = _noisy(reference, strength, bit_depth)
    expected = _definition(reference, restored, bit_depth)
    assert _measured(reference, restored, bit_depth) == pytest.approx(expected, abs=2e-6)


def test_planes_of_different_depths_are_refused() -> None:
    with pytest.raises(ValueError, match="planes of 8 and of 10 bits"):
        ssim(
            LumaStatistics.of(np.zeros((11, 11), np.uint8), bit_depth=8),
            LumaStatistics.of(np.zeros((11, 11), np.uint16), bit_depth=10),
        )


@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_planes_lose_no_precision(level: int) -> None:
    """Variances are zero here, where a difference of large squares would leave noise."""
    reference = np.full((40, 40), level, np.uint8)
    restored = reference.copy()
    restored[20, 20] ^= 1
    measured = _measured(reference, restored)
    assert measured == pytest.approx(_definition(reference, restored), abs=1e-6)
    assert measured < 1


def test_equal_planes_have_ssim_one() -> None:
    plane = np.random.default_rng(0).integers(0, 256, (50, 70), dtype=np.uint8)
    assert _measured(plane, plane.copy()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (10, 30), (30, 3)])
def test_planes_smaller_than_the_window_are_extended(height: int, width: int) -> None:
    plane = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    padding = ((0, max(0, 11 - height)), (0, max(0, 11 - width)))
    extended, noisy = np.pad(plane, padding, mode="edge"), np.pad(_noisy(plane, 30), padding, mode="edge")
    measured = _measured(plane, _noisy(plane, 30))
    assert measured == pytest.approx(_definition(extended, noisy), abs=2e-6)
