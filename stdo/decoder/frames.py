"""Frames and their colour: the 4:2:0 planes of a video, and R'G'B' (docs/FORMAT.md, section 6).

Array shapes, here and everywhere: `B` batch, `C` channel, `H W` base stream, `h w` restored picture; R'G'B' is
(h, w, 3), a plane (h, w). Samples are uint8 at 8 bits and uint16 at 10.

The conversions are integer arithmetic, so that they give the same samples on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from stdo.bundle.codecs import BitDepth
from stdo.bundle.geometry import Image, Sample, peak, sample_type
from stdo.bundle.manifest import Colour
from stdo.decoder.colour import FRACTION_BITS, colour_factors

Plane = npt.NDArray[Sample]
"""(h, w): uint8 at 8 bits a sample, uint16 at 10"""
_Integers = npt.NDArray[np.int32]

_HALF = 1 << (FRACTION_BITS - 1)
# Rows converted at once: small enough for the working set to stay in the processor's cache, and even.
_BAND_ROWS = 32


def plane_to_depth(plane: Image, *, bit_depth: BitDepth, wanted: BitDepth) -> Image:
    """Samples of one depth in another: times four, or a quarter rounded half up, at most 255."""
    if bit_depth == wanted:
        return plane
    if wanted == 10:
        return plane.astype(np.uint16) << np.uint16(2)
    quarters: Image = np.minimum((plane + np.uint16(2)) >> np.uint16(2), 255).astype(np.uint8)
    return quarters


@dataclass(frozen=True, kw_only=True, eq=False)
class YuvFrame:
    """One Y'CbCr frame, 4:2:0, chroma sited left horizontally and centred vertically (as MPEG-2)."""

    y: Plane
    """(h, w)"""
    u: Plane
    """Cb, (ceil(h / 2), ceil(w / 2))"""
    v: Plane
    """Cr, as `u`"""
    time: Fraction
    """Presentation time in seconds."""
    bit_depth: BitDepth = 8
    """Of the samples."""

    def __post_init__(self) -> None:
        height, width = self.y.shape
        chroma_shape = (-(-height // 2), -(-width // 2))
        if self.u.shape != chroma_shape or self.v.shape != chroma_shape:
            raise ValueError(f"not 4:2:0 planes: {self.y.shape = }, {self.u.shape = }, {self.v.shape = }")
        types = {plane.dtype.type for plane in (self.y, self.u, self.v)}
        if types != {sample_type(self.bit_depth)}:
            raise ValueError(f"samples of {self.bit_depth} bits are not held as {types}")

    def cropped(self, *, width: int, height: int) -> YuvFrame:
        """The upper left part of the frame, as views."""
        chroma_height, chroma_width = -(-height // 2), -(-width // 2)
        return YuvFrame(
            y=self.y[:height, :width],
            u=self.u[:chroma_height, :chroma_width],
            v=self.v[:chroma_height, :chroma_width],
            time=self.time,
            bit_depth=self.bit_depth,
        )

    def to_depth(self, bit_depth: BitDepth) -> YuvFrame:
        """The same frame in samples of so many bits; 10 bits are rounded to 8 half up, without dither."""
        if bit_depth == self.bit_depth:
            return self
        y, u, v = (
            plane_to_depth(plane, bit_depth=self.bit_depth, wanted=bit_depth) for plane in (self.y, self.u, self.v)
        )
        return YuvFrame(y=y, u=u, v=v, time=self.time, bit_depth=bit_depth)


def yuv_to_rgb(frame: YuvFrame, colour: Colour) -> Image:
    """R'G'B' of a frame: chroma interpolated linearly, then the matrix, rounded half up and clipped.

    Returns:
        (h, w, 3), of the frame's depth.
    """
    factors = colour_factors(colour, frame.bit_depth)
    height, width = frame.y.shape
    grey = 1 << (frame.bit_depth - 1)
    rgb = np.empty((height, width, 3), sample_type(frame.bit_depth))
    for top in range(0, height, _BAND_ROWS):
        bottom = min(top + _BAND_ROWS, height)
        luma = frame.y[top:bottom].astype(np.int32)
        luma *= factors.y_to_rgb
        # The middle of the range is taken off here and put back by _store: so sums at ten bits fit into 32 bits.
        luma += _HALF - factors.y_offset * factors.y_to_rgb - (grey << FRACTION_BITS)
        cb = _interpolated_chroma(frame.u, top=top, bottom=bottom, width=width, grey=grey)
        cr = _interpolated_chroma(frame.v, top=top, bottom=bottom, width=width, grey=grey)
        band = rgb[top:bottom]
        _store(luma + factors.cr_to_r * cr, band[..., 0], bit_depth=frame.bit_depth, middle=grey)
        _store(luma + factors.cb_to_b * cb, band[..., 2], bit_depth=frame.bit_depth, middle=grey)
        luma += factors.cb_to_g * cb
        luma += factors.cr_to_g * cr
        _store(luma, band[..., 1], bit_depth=frame.bit_depth, middle=grey)
    return rgb


def rgb_to_yuv(rgb: Image, colour: Colour, time: Fraction, *, bit_depth: BitDepth) -> YuvFrame:
    """The 4:2:0 planes of an R'G'B' picture, (h, w, 3), of the same depth.

    Chroma is low-passed with the weights 1 2 1 horizontally, around its siting, and 1 1 vertically.
    """
    factors = colour_factors(colour, bit_depth)
    smooth = _chroma_low_pass(rgb)
    grey = 1 << (bit_depth - 1)
    return YuvFrame(
        y=rgb_to_luma(rgb, colour, bit_depth=bit_depth),
        u=_matrix_row(smooth, factors.rgb_to_cb, offset=grey, bit_depth=bit_depth),
        v=_matrix_row(smooth, factors.rgb_to_cr, offset=grey, bit_depth=bit_depth),
        time=time,
        bit_depth=bit_depth,
    )


def rgb_to_luma(rgb: Image, colour: Colour, *, bit_depth: BitDepth) -> Plane:
    """The luma plane of an R'G'B' picture, (h, w, 3), of the same depth, in the range of `colour`."""
    factors = colour_factors(colour, bit_depth)
    luma = np.empty(rgb.shape[:2], sample_type(bit_depth))
    for top in range(0, rgb.shape[0], _BAND_ROWS):
        band = rgb[top : top + _BAND_ROWS].astype(np.int32)
        luma[top : top + _BAND_ROWS] = _matrix_row(band, factors.rgb_to_y, offset=factors.y_offset, bit_depth=bit_depth)
    return luma


def _interpolated_chroma(plane: Plane, *, top: int, bottom: int, width: int, grey: int) -> _Integers:
    """Rows `top` to `bottom` (`top` even) of a chroma plane at luma size, in eighths, `grey` taken off.

    A luma row lies a quarter of a chroma row from the nearest one. Even columns lie on a chroma sample, odd ones
    between two.
    """
    first, last = top // 2, (bottom + 1) // 2
    # In quarters after the vertical interpolation. Rows beyond the plane repeat its edge.
    rows = np.clip(np.arange(first - 1, last + 1), 0, plane.shape[0] - 1)
    neighbourhood = plane[rows].astype(np.int32) - grey
    own = 3 * neighbourhood[1:-1]
    vertical = np.empty((2 * (last - first), plane.shape[1]), np.int32)
    np.add(own, neighbourhood[:-2], out=vertical[0::2])
    np.add(own, neighbourhood[2:], out=vertical[1::2])
    vertical = vertical[: bottom - top]
    full = np.empty((bottom - top, 2 * plane.shape[1]), np.int32)
    np.multiply(vertical, 2, out=full[:, 0::2])
    np.add(vertical[:, :-1], vertical[:, 1:], out=full[:, 1:-1:2])
    full[:, -1] = full[:, -2]
    return full[:, :width]


def _chroma_low_pass(rgb: Image) -> _Integers:
    """(ceil(h / 2), ceil(w / 2), 3): eight times the mean colour around each chroma sample."""
    height, width = rgb.shape[:2]
    padded = np.pad(rgb, ((0, height % 2), (1, width % 2), (0, 0)), mode="edge")
    rows = padded[0::2].astype(np.int32) + padded[1::2]
    smooth: _Integers = rows[:, :-1:2] + 2 * rows[:, 1::2] + rows[:, 2::2]
    return smooth


def _matrix_row(rgb: _Integers, weights: tuple[int, int, int], *, offset: int, bit_depth: BitDepth) -> Plane:
    total = rgb[..., 0] * weights[0]
    total += rgb[..., 1] * weights[1]
    total += rgb[..., 2] * weights[2]
    total += (offset << FRACTION_BITS) + _HALF
    plane = np.empty(total.shape, sample_type(bit_depth))
    _store(total, plane, bit_depth=bit_depth, middle=0)
    return plane


def _store(fixed_point: _Integers, out: Plane, *, bit_depth: BitDepth, middle: int) -> None:
    """Drop the fraction (the half was added before), put the middle back, clip. Uses `fixed_point` up."""
    fixed_point >>= FRACTION_BITS
    fixed_point += middle
    np.clip(fixed_point, 0, peak(bit_depth), out=fixed_point)
    out[...] = fixed_point
