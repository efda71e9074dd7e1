"""Structural similarity of luma planes (Wang, Bovik, Sheikh, Simoncelli 2004)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from stdo.bundle.codecs import BitDepth
from stdo.bundle.geometry import peak
from stdo.decoder.frames import Plane

WINDOW = 11
SIGMA = 1.5
_K1 = 0.01
_K2 = 0.03
# Filtering is a product with a banded matrix, block by block: BLAS does it several times faster than shifted sums.
_BLOCK = 32

_Map = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class LumaStatistics:
    """What SSIM needs of one plane. Kept for a reference that several restorations are compared with."""

    bit_depth: BitDepth
    centred: _Map
    """(h, w) luma less the middle of its range: variances are then small differences of small numbers, which float32
    holds well."""
    mean: _Map
    """Gaussian-weighted mean of `centred` at each whole window, (h - 10, w - 10)."""
    variance: _Map

    @classmethod
    def of(cls, luma: Plane, *, bit_depth: BitDepth) -> LumaStatistics:
        """Statistics of a plane; one smaller than the window is first extended to it by edge replication."""
        height, width = luma.shape
        if min(height, width) < WINDOW:
            luma = np.pad(luma, ((0, max(0, WINDOW - height)), (0, max(0, WINDOW - width))), mode="edge")
        centred = luma.astype(np.float32) - np.float32(1 << (bit_depth - 1))
        mean = _smooth(centred)
        variance = _smooth(centred * centred) - mean * mean
        return cls(bit_depth=bit_depth, centred=centred, mean=mean, variance=variance)


def ssim(reference: LumaStatistics, restored: LumaStatistics) -> float:
    """Mean SSIM over all whole 11x11 windows (Gaussian, sigma 1.5; K1 = 0.01, K2 = 0.03, L the largest sample).

    Both planes have one depth.
    """
    if reference.bit_depth != restored.bit_depth:
        raise ValueError(f"planes of {reference.bit_depth} and of {restored.bit_depth} bits")
    largest = peak(reference.bit_depth)
    c1, c2 = (_K1 * largest) ** 2, (_K2 * largest) ** 2
    middle = np.float32(1 << (reference.bit_depth - 1))
    covariance = _smooth(reference.centred * restored.centred) - reference.mean * restored.mean
    mean_a, mean_b = reference.mean + middle, restored.mean + middle
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    similarity /= (mean_a * mean_a + mean_b * mean_b + c1) * (reference.variance + restored.variance + c2)
    return float(similarity.mean(dtype=np.float64))


def _smooth(image: _Map) -> _Map:
    """The Gaussian window on a plane, whole windows only."""
    return np.ascontiguousarray(_smooth_columns(np.ascontiguousarray(_smooth_columns(image).T)).T)


def _smooth_columns(image: _Map) -> _Map:
    """(n, m) -> (n - 10, m): the window along the first axis."""
    rows = image.shape[0] - WINDOW + 1
    smooth = np.empty((rows, image.shape[1]), np.float32)
    for top in range(0, rows, _BLOCK):
        count = min(_BLOCK, rows - top)
        np.matmul(_band_matrix(count), image[top : top + count + WINDOW - 1], out=smooth[top : top + count])
    return smooth


@cache
def _band_matrix(rows: int) -> _Map:
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * SIGMA**2))
    matrix = np.zeros((rows, rows + WINDOW - 1), np.float32)
    for row in range(rows):
        matrix[row, row : row + WINDOW] = weights / weights.sum()
    return matrix
