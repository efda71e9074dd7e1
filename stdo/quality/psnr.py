"""How far a restored video is from its source: PSNR over whole frames, the paper's PSNR, SSIM."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from math import log10
from typing import Self

import numpy as np
import numpy.typing as npt

from stdo.bundle.codecs import BitDepth
from stdo.bundle.geometry import FrameLayout, Image, peak
from stdo.bundle.manifest import Colour, PictureQuality
from stdo.decoder.frames import Plane, YuvFrame, yuv_to_rgb
from stdo.decoder.restored_frame import RestoredFrame
from stdo.quality.ssim import LumaStatistics, ssim

FRAME_PSNR_WITHOUT_ERROR = 100.0
"""What a frame without any error counts in the mean of the frames, in dB."""
_Mask = npt.NDArray[np.bool_]
_Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferenceFrame:
    """A frame of the normalised source at display size. What is computed from it serves every comparison with it."""

    frame: YuvFrame
    """Of the restored picture's depth."""
    colour: Colour

    @property
    def luma(self) -> Plane:
        """(h, w)"""
        return self.frame.y

    @cached_property
    def rgb(self) -> Image:
        """(h, w, 3)"""
        return yuv_to_rgb(self.frame, self.colour)

    @cached_property
    def luma_statistics(self) -> LumaStatistics:
        """For SSIM."""
        return LumaStatistics.of(self.luma, bit_depth=self.frame.bit_depth)


@dataclass(frozen=True, kw_only=True)
class FrameError:
    """Distance of one restored frame from its reference. Squared errors are exact sums over samples."""

    luma_squared_error: int
    rgb_squared_error: int
    """Over the three channels."""
    interior_squared_error: int
    """As `rgb_squared_error`, over the patch interiors of the paper's metric; 0 without a patch grid."""
    ssim_luma: float


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameErrors:
    """The `FrameError` of many frames, as arrays of one value a frame: 32 bytes."""

    luma_squared_error: npt.NDArray[np.int64]
    rgb_squared_error: npt.NDArray[np.int64]
    interior_squared_error: npt.NDArray[np.int64]
    ssim_luma: _Reals

    @classmethod
    def empty(cls, frame_count: int) -> Self:
        """Room for so many frames, to be filled by `errors[number] = error`."""
        whole = (np.zeros(frame_count, np.int64) for _ in range(3))
        luma, rgb, interior = whole
        return cls(
            luma_squared_error=luma,
            rgb_squared_error=rgb,
            interior_squared_error=interior,
            ssim_luma=np.zeros(frame_count),
        )

    def __len__(self) -> int:
        return len(self.ssim_luma)

    def __setitem__(self, number: int, error: FrameError) -> None:
        self.luma_squared_error[number] = error.luma_squared_error
        self.rgb_squared_error[number] = error.rgb_squared_error
        self.interior_squared_error[number] = error.interior_squared_error
        self.ssim_luma[number] = error.ssim_luma

    def __getitem__(self, frames: slice | npt.NDArray[np.int64]) -> Self:
        """Some of the frames: a segment's, or those whose numbers an array holds."""
        return type(self)(
            luma_squared_error=self.luma_squared_error[frames],
            rgb_squared_error=self.rgb_squared_error[frames],
            interior_squared_error=self.interior_squared_error[frames],
            ssim_luma=self.ssim_luma[frames],
        )


def frame_error(layout: FrameLayout, reference: ReferenceFrame, restored: RestoredFrame) -> FrameError:
    """Compare one restored frame with its reference; both have the picture's size and depth."""
    rgb_error = squared_error(reference.rgb, restored.rgb)
    rows, columns = _interior(layout)
    statistics = LumaStatistics.of(restored.luma, bit_depth=restored.bit_depth)
    return FrameError(
        luma_squared_error=_total(squared_error(reference.luma, restored.luma)),
        rgb_squared_error=_total(rgb_error),
        interior_squared_error=_total(rgb_error[rows][:, columns]),
        ssim_luma=ssim(reference.luma_statistics, statistics),
    )


def summary(errors: FrameErrors, layout: FrameLayout) -> PictureQuality:
    """The figures over all of the frames.

    Raises:
        ValueError: there is no frame.
    """
    if not len(errors):
        raise ValueError("quality of no frame")
    picture = layout.picture
    pixels = picture.display_width * picture.display_height
    rows, columns = _interior(layout)
    interior_samples = 3 * int(rows.sum()) * int(columns.sum())
    luma, rgb = errors.luma_squared_error / pixels, errors.rgb_squared_error / (3 * pixels)
    interior = float(errors.interior_squared_error.mean()) / interior_samples if interior_samples else 0
    return PictureQuality(
        psnr_y=psnr(float(luma.mean()), picture.bit_depth),
        psnr_rgb=psnr(float(rgb.mean()), picture.bit_depth),
        psnr_y_frame_mean=_frame_mean(luma, picture.bit_depth),
        psnr_rgb_frame_mean=_frame_mean(rgb, picture.bit_depth),
        ssim_y=float(errors.ssim_luma.mean()),
        paper_psnr_rgb=psnr(interior, picture.bit_depth),
    )


def psnr(mean_squared_error: float, bit_depth: BitDepth) -> float | None:
    """Peak signal-to-noise ratio of samples of that depth in dB; None where there is no error."""
    return 10 * log10(peak(bit_depth) ** 2 / mean_squared_error) if mean_squared_error else None


def squared_error(reference: Image | Plane, restored: Image | Plane) -> npt.NDArray[np.int32]:
    """Squared error of each pixel, summed over its channels.

    Args:
        reference, restored: (h, w, C) or (h, w), of one depth.

    Returns:
        (h, w) int32.
    """
    if reference.shape != restored.shape or reference.dtype != restored.dtype:
        raise ValueError(
            "pictures of different shapes or depths: "
            f"{reference.shape} {reference.dtype} and {restored.shape} {restored.dtype}"
        )
    # Ten bits and their differences fit in 16.
    difference = reference.astype(np.int16)
    difference -= restored.astype(np.int16)
    if difference.ndim == 2:
        difference = difference[..., np.newaxis]
    error: npt.NDArray[np.int32] = np.einsum("hwc,hwc->hw", difference, difference, dtype=np.int32)
    return error


def patch_squared_error(reference: Image | Plane, restored: Image | Plane, layout: FrameLayout) -> _Reals:
    """Exact sum of squared errors over each patch's pixels inside the picture, and over the channels.

    A patch that lies wholly beyond the display size has no pixels: its sum is 0, and so is its `patch_pixel_counts`.

    Args:
        reference, restored: (display_height, display_width, C) or without C, of one depth.
        layout: with a patch grid.

    Returns:
        (rows * columns,) float64 in raster order.
    """
    picture, grid = layout.picture, layout.grid
    assert grid is not None
    error = squared_error(reference, restored)
    row_starts = np.arange(0, picture.display_height, picture.scale * grid.patch_height)
    column_starts = np.arange(0, picture.display_width, picture.scale * grid.patch_width)
    by_rows = np.add.reduceat(error, row_starts, axis=0, dtype=np.int64)
    sums = np.zeros((grid.rows, grid.columns))
    sums[: len(row_starts), : len(column_starts)] = np.add.reduceat(by_rows, column_starts, axis=1)
    return sums.reshape(-1)


def patch_pixel_counts(layout: FrameLayout) -> npt.NDArray[np.int64]:
    """Each patch's pixels inside the picture: (rows * columns,) int64 in raster order. The layout has a patch grid."""
    picture, grid = layout.picture, layout.grid
    assert grid is not None
    heights = _overlaps(grid.rows, picture.scale * grid.patch_height, picture.display_height)
    widths = _overlaps(grid.columns, picture.scale * grid.patch_width, picture.display_width)
    return np.outer(heights, widths).reshape(-1)


def _overlaps(count: int, patch_size: int, display_size: int) -> npt.NDArray[np.int64]:
    starts = np.arange(count, dtype=np.int64) * patch_size
    return np.clip(display_size - starts, 0, patch_size)


def _interior(layout: FrameLayout) -> tuple[_Mask, _Mask]:
    """The rows and columns of the picture that the paper's metric counts: none without a patch grid."""
    picture, grid = layout.picture, layout.grid
    if grid is None:
        return np.zeros(picture.display_height, np.bool_), np.zeros(picture.display_width, np.bool_)
    shave = picture.scale + 4
    return (
        _interior_mask(picture.display_height, picture.scale * grid.patch_height, shave),
        _interior_mask(picture.display_width, picture.scale * grid.patch_width, shave),
    )


@cache
def _interior_mask(display_size: int, patch_size: int, shave: int) -> _Mask:
    position = np.arange(display_size) % patch_size
    return (position >= shave) & (position < patch_size - shave)


def _total(error: npt.NDArray[np.int32]) -> int:
    return int(error.sum(dtype=np.int64))


def _frame_mean(mean_squared_errors: _Reals, bit_depth: BitDepth) -> float:
    figures = np.full(len(mean_squared_errors), FRAME_PSNR_WITHOUT_ERROR)
    wrong = mean_squared_errors > 0
    figures[wrong] = 10 * np.log10(peak(bit_depth) ** 2 / mean_squared_errors[wrong])
    return float(figures.mean())
