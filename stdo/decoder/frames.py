"""Frames and their colour: the 8-bit 4:2:0 planes of a video, and R'G'B' (docs/FORMAT.md, section 6).

Array shapes, here and everywhere: `B` batch, `C` channel, `H W` low-resolution, `h w` high-resolution; frames are numpy
uint8, R'G'B' (h, w, 3), or planes (h, w).

The conversions are integer arithmetic, so that they give the same bytes on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from stdo.bundle.codecs import BitDepth
from stdo.bundle.geometry import Image as Image
from stdo.bundle.manifest import Colour
from stdo.decoder.colour import FRACTION_BITS, colour_factors
from stdo.decoder.video_reader import open_base_stream, seek_frame
from stdo.errors import VideoError

Plane = npt.NDArray[np.uint8]
"""uint8, (h, w)"""
_Integers = npt.NDArray[np.int32]

_HALF = 1 << (FRACTION_BITS - 1)
# Rows converted at once: small enough for the working set to stay in the processor's cache, and even.
_BAND_ROWS = 32
_PIXEL_FORMATS = ("yuv420p", "yuvj420p")


@dataclass(frozen=True, kw_only=True, eq=False)
class YuvFrame:
    """One 8-bit Y'CbCr frame, 4:2:0, chroma sited left horizontally and centred vertically (as MPEG-2)."""

    y: Plane
    """(h, w)"""
    u: Plane
    """Cb, (ceil(h / 2), ceil(w / 2))"""
    v: Plane
    """Cr, as `u`"""
    time: Fraction
    """Presentation time in seconds."""
    bit_depth: BitDepth = 8

    def __post_init__(self) -> None:
        height, width = self.y.shape
        chroma_shape = (-(-height // 2), -(-width // 2))
        if self.u.shape != chroma_shape or self.v.shape != chroma_shape:
            raise ValueError(f"not 4:2:0 planes: {self.y.shape = }, {self.u.shape = }, {self.v.shape = }")

    def cropped(self, *, width: int, height: int) -> YuvFrame:
        """The upper left part of the frame, as views."""
        chroma_height, chroma_width = -(-height // 2), -(-width // 2)
        return YuvFrame(
            y=self.y[:height, :width],
            u=self.u[:chroma_height, :chroma_width],
            v=self.v[:chroma_height, :chroma_width],
            time=self.time,
        )


def decode_video(path: Path, *, first_frame: int = 0) -> Iterator[YuvFrame]:
    """The frames of a low-resolution stream in order of presentation, from the one numbered `first_frame`.

    Decoding starts at the last key frame that is not after it.

    Raises:
        FrameRangeError: there is no frame of that number.
        VideoError: the stream can't be decoded, or is not 8-bit 4:2:0.
    """
    with open_base_stream(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        try:
            first_pts = seek_frame(container, stream, first_frame) if first_frame else None
            # The end of the file flushes the decoder: PyAV ends its packets with an empty one.
            for picture in container.decode(stream):
                if picture.pts is None:
                    raise VideoError(f"{path.name} has a frame without a timestamp.")
                if first_pts is None or picture.pts >= first_pts:
                    yield _planes(picture, path)
        except av.FFmpegError as error:
            raise VideoError(f"{path.name} can't be decoded: {error}") from error


def yuv_to_rgb(frame: YuvFrame, colour: Colour) -> Image:
    """R'G'B' of a frame: chroma interpolated linearly, then the matrix, rounded half up and clipped.

    Returns:
        (h, w, 3) uint8.
    """
    factors = colour_factors(colour)
    height, width = frame.y.shape
    rgb = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _BAND_ROWS):
        bottom = min(top + _BAND_ROWS, height)
        luma = frame.y[top:bottom].astype(np.int32)
        luma *= factors.y_to_rgb
        luma += _HALF - factors.y_offset * factors.y_to_rgb
        cb = _interpolated_chroma(frame.u, top=top, bottom=bottom, width=width)
        cr = _interpolated_chroma(frame.v, top=top, bottom=bottom, width=width)
        band = rgb[top:bottom]
        _store(luma + factors.cr_to_r * cr, band[..., 0])
        _store(luma + factors.cb_to_b * cb, band[..., 2])
        luma += factors.cb_to_g * cb
        luma += factors.cr_to_g * cr
        _store(luma, band[..., 1])
    return rgb


def rgb_to_yuv(rgb: Image, colour: Colour, time: Fraction) -> YuvFrame:
    """The 4:2:0 planes of an R'G'B' picture, (h, w, 3) uint8.

    Chroma is low-passed with the weights 1 2 1 horizontally, around its siting, and 1 1 vertically.
    """
    factors = colour_factors(colour)
    smooth = _chroma_low_pass(rgb)
    return YuvFrame(
        y=rgb_to_luma(rgb, colour),
        u=_matrix_row(smooth, factors.rgb_to_cb, offset=128),
        v=_matrix_row(smooth, factors.rgb_to_cr, offset=128),
        time=time,
    )


def rgb_to_luma(rgb: Image, colour: Colour) -> Plane:
    """The 8-bit luma plane of an R'G'B' picture, (h, w, 3) uint8, in the range of `colour`."""
    factors = colour_factors(colour)
    luma = np.empty(rgb.shape[:2], np.uint8)
    for top in range(0, rgb.shape[0], _BAND_ROWS):
        band = rgb[top : top + _BAND_ROWS].astype(np.int32)
        luma[top : top + _BAND_ROWS] = _matrix_row(band, factors.rgb_to_y, offset=factors.y_offset)
    return luma


def _interpolated_chroma(plane: Plane, *, top: int, bottom: int, width: int) -> _Integers:
    """Rows `top` to `bottom` (`top` even) of a chroma plane at luma size, in eighths, 128 taken off.

    A luma row lies a quarter of a chroma row from the nearest one. Even columns lie on a chroma sample, odd ones
    between two.
    """
    first, last = top // 2, (bottom + 1) // 2
    # In quarters after the vertical step. Rows beyond the plane repeat its edge.
    rows = np.clip(np.arange(first - 1, last + 1), 0, plane.shape[0] - 1)
    neighbourhood = plane[rows].astype(np.int32) - 128
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


def _matrix_row(rgb: _Integers, weights: tuple[int, int, int], *, offset: int) -> Plane:
    total = rgb[..., 0] * weights[0]
    total += rgb[..., 1] * weights[1]
    total += rgb[..., 2] * weights[2]
    total += (offset << FRACTION_BITS) + _HALF
    plane = np.empty(total.shape, np.uint8)
    _store(total, plane)
    return plane


def _store(fixed_point: _Integers, out: Plane) -> None:
    """Drop the fraction (the half was added before), clip to 8 bits. Uses `fixed_point` up."""
    fixed_point >>= FRACTION_BITS
    np.clip(fixed_point, 0, 255, out=fixed_point)
    out[...] = fixed_point


def _planes(picture: av.VideoFrame, path: Path) -> YuvFrame:
    if picture.format.name not in _PIXEL_FORMATS:
        raise VideoError(f"{path.name} is {picture.format.name}; a low-resolution stream is 8-bit 4:2:0 (yuv420p).")
    if picture.width % 2 or picture.height % 2:
        raise VideoError(f"{path.name} is {picture.width}x{picture.height}; a low-resolution stream has even sizes.")
    assert picture.pts is not None
    assert picture.time_base is not None
    width, height = picture.width, picture.height
    # Y, then U, then V, without row padding.
    samples = picture.to_ndarray().astype(np.uint8, copy=False).reshape(-1)
    chroma = samples[height * width :].reshape(2, height // 2, width // 2)
    return YuvFrame(
        y=samples[: height * width].reshape(height, width),
        u=chroma[0],
        v=chroma[1],
        time=picture.pts * picture.time_base,
    )
