"""Enlarge planes with a plain filter, in integers that give the same samples everywhere.

docs/FORMAT.md, section 6.3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from stdo.bundle.codecs import BitDepth
from stdo.bundle.geometry import peak, sample_type
from stdo.decoder.frames import Plane, YuvFrame

Filter = Literal["bicubic", "lanczos"]
_Reals = npt.NDArray[np.float64]
_Integers = npt.NDArray[np.int32]

_FRACTION_BITS: Mapping[BitDepth, int] = {8: 22, 10: 20}
"""As many as leave sums in 32 bits."""
# Rows filtered at once: small enough for the working set to stay in the processor's cache.
_BAND_ROWS = 32


def resize_frame(frame: YuvFrame, *, scale: int, filter: Filter) -> YuvFrame:
    """Enlarge each plane of a frame by `scale` with a plain filter, as a player would.

    "bicubic" is the Keys cubic with a = -1/2, "lanczos" has three lobes.
    """
    y, u, v = (
        resize_plane(plane, scale=scale, filter=filter, bit_depth=frame.bit_depth)
        for plane in (frame.y, frame.u, frame.v)
    )
    return YuvFrame(y=y, u=u, v=v, time=frame.time, bit_depth=frame.bit_depth)


def resize_plane(plane: Plane, *, scale: int, filter: Filter, bit_depth: BitDepth) -> Plane:
    """(H, W) -> (scale * H, scale * W), of the same depth: first all rows, then all columns."""
    if scale == 1:
        return plane
    enlarged_rows = np.empty((plane.shape[0], scale * plane.shape[1]), sample_type(bit_depth))
    weights = _weights(filter, scale, plane.shape[1], bit_depth)
    for top in range(0, plane.shape[0], _BAND_ROWS):
        # Turned by a right angle, rows are columns. A band of them is small, and its copy cheap.
        band = np.ascontiguousarray(plane[top : top + _BAND_ROWS].T)
        enlarged_rows[top : top + _BAND_ROWS] = _enlarge_columns(band, weights, scale, bit_depth).T
    weights = _weights(filter, scale, plane.shape[0], bit_depth)
    return _enlarge_columns(enlarged_rows, weights, scale, bit_depth)


def _enlarge_columns(plane: Plane, weights: _Integers, scale: int, bit_depth: BitDepth) -> Plane:
    """(n, m) -> (scale * n, m). `weights` are those of `_weights` for n."""
    count, reach = plane.shape[0], weights.shape[1] // 2
    padded = np.pad(plane, ((reach, reach), (0, 0)))
    enlarged = np.empty((scale * count, plane.shape[1]), sample_type(bit_depth))
    for top in range(0, count, _BAND_ROWS):
        bottom = min(top + _BAND_ROWS, count)
        samples = padded[top : bottom + 2 * reach].astype(np.int32)
        for phase in range(scale):
            band_weights = weights[scale * top + phase : scale * bottom : scale]
            band = _weighted_sum(samples, band_weights, bit_depth)
            enlarged[scale * top + phase : scale * bottom : scale] = band
    return enlarged


def _weighted_sum(samples: _Integers, weights: _Integers, bit_depth: BitDepth) -> _Integers:
    """Row i is the sum of samples[i + tap] * weights[i, tap] over the taps, rounded and clipped."""
    bits = _FRACTION_BITS[bit_depth]
    total = np.full((len(weights), samples.shape[1]), 1 << (bits - 1), np.int32)
    for tap in range(weights.shape[1]):
        column = weights[:, tap]
        if column.any():
            total += samples[tap : tap + len(weights)] * column[:, np.newaxis]
    total >>= bits
    return np.clip(total, 0, peak(bit_depth), out=total)


@cache
def _weights(filter: Filter, scale: int, count: int, bit_depth: BitDepth) -> _Integers:
    """(scale * count, 7): what each output sample takes of the seven input samples around its own one."""
    own, offsets = np.arange(scale * count) // scale, np.arange(-3, 4)
    centres = (np.arange(scale * count) + 0.5) / scale
    inputs = own[:, np.newaxis] + offsets
    weights = _KERNELS[filter](inputs + 0.5 - centres[:, np.newaxis])
    weights[(inputs < 0) | (inputs >= count)] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    integers: _Integers = np.rint(weights * (1 << _FRACTION_BITS[bit_depth])).astype(np.int32)
    return integers


def _keys(distance: _Reals) -> _Reals:
    t = np.abs(distance)
    near, far = 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return np.where(t < 1, near, np.where(t < 2, far, 0.0))


def _lanczos(distance: _Reals) -> _Reals:
    return np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0.0)


_KERNELS: Mapping[Filter, Callable[[_Reals], _Reals]] = {"bicubic": _keys, "lanczos": _lanczos}
