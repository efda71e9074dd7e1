"""How far a restored video is from its source: PSNR over whole frames, the paper's PSNR, SSIM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import log10

import numpy as np
import numpy.typing as npt

from stdo.bundle.manifest import Colour, PatchGrid, Picture, PictureQuality
from stdo.decoder.frames import Image, Plane, YuvFrame, yuv_to_rgb
from stdo.decoder.restored_frame import RestoredFrame
from stdo.quality.ssim import LumaStatistics, ssim

FRAME_PSNR_WITHOUT_ERROR = 100.0
"""What a frame without any error counts in the mean of the frames, in dB."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferenceFrame:
    """A frame of the normalised source at display size. What is computed from it serves every comparison with it."""

    frame: YuvFrame
    colour: Colour

    @property
    def luma(self) -> Plane:
        """(h, w) uint8."""
        return self.frame.y

    @cached_property
    def rgb(self) -> Image:
        """(h, w, 3) uint8."""
        return yuv_to_rgb(self.frame, self.colour)

    @cached_property
    def luma_statistics(self) -> LumaStatistics:
        """For SSIM."""
        return LumaStatistics.of(self.luma)


@dataclass(frozen=True, kw_only=True)
class FrameError:
    """Distance of one restored frame from its reference. Squared errors are exact sums over 8-bit samples."""

    luma_squared_error: int
    rgb_squared_error: int
    """Over the three channels."""
    interior_squared_error: int
    """As `rgb_squared_error`, over the patch interiors of the paper's metric."""
    ssim_luma: float


@dataclass(frozen=True, kw_only=True, eq=False)
class QualityMeter:
    """Compares restored frames with their reference, one after another. Keeps a few numbers for each frame."""

    picture: Picture
    grid: PatchGrid
    frames: list[FrameError] = field(default_factory=list)
    """The frames added so far."""

    def add(self, reference: ReferenceFrame, restored: RestoredFrame) -> FrameError:
        """Measure the next frame."""
        rgb_error = squared_error(reference.rgb, restored.rgb)
        rows, columns = self._interior
        error = FrameError(
            luma_squared_error=_total(squared_error(reference.luma, restored.luma)),
            rgb_squared_error=_total(rgb_error),
            interior_squared_error=_total(rgb_error[rows][:, columns]),
            ssim_luma=ssim(reference.luma_statistics, LumaStatistics.of(restored.luma)),
        )
        self.frames.append(error)
        return error

    def result(self, frames: slice = slice(None)) -> PictureQuality:
        """The figures over all frames added, or over a segment of them.

        Raises:
            ValueError: there is no such frame.
        """
        chosen = self.frames[frames]
        if not chosen:
            raise ValueError("quality of no frame")
        pixels = self.picture.display_width * self.picture.display_height
        rows, columns = self._interior
        interior_samples = 3 * int(rows.sum()) * int(columns.sum())
        luma = [frame.luma_squared_error / pixels for frame in chosen]
        rgb = [frame.rgb_squared_error / (3 * pixels) for frame in chosen]
        interior = [frame.interior_squared_error / interior_samples for frame in chosen] if interior_samples else []
        return PictureQuality(
            psnr_y=psnr(_mean(luma)),
            psnr_rgb=psnr(_mean(rgb)),
            psnr_y_frame_mean=_frame_mean(luma),
            psnr_rgb_frame_mean=_frame_mean(rgb),
            ssim_y=_mean([frame.ssim_luma for frame in chosen]),
            paper_psnr_rgb=psnr(_mean(interior)) if interior else None,
        )

    @cached_property
    def _interior(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        scale = self.picture.scale
        return (
            _interior_mask(self.picture.display_height, scale * self.grid.patch_height, scale + 4),
            _interior_mask(self.picture.display_width, scale * self.grid.patch_width, scale + 4),
        )


def psnr(mean_squared_error: float) -> float | None:
    """Peak signal-to-noise ratio of 8-bit samples in dB; None where there is no error."""
    return 10 * log10(255**2 / mean_squared_error) if mean_squared_error else None


def squared_error(reference: Image | Plane, restored: Image | Plane) -> npt.NDArray[np.int32]:
    """Squared error of each pixel, summed over its channels.

    Args:
        reference, restored: (h, w, C) or (h, w) uint8.

    Returns:
        (h, w) int32.
    """
    if reference.shape != restored.shape:
        raise ValueError(f"pictures of different shapes: {reference.shape = }, {restored.shape = }")
    difference = reference.astype(np.int16)
    difference -= restored
    if difference.ndim == 2:
        difference = difference[..., np.newaxis]
    error: npt.NDArray[np.int32] = np.einsum("hwc,hwc->hw", difference, difference, dtype=np.int32)
    return error


def patch_squared_error(
    reference: Image | Plane, restored: Image | Plane, *, picture: Picture, grid: PatchGrid
) -> npt.NDArray[np.float64]:
    """Exact sum of squared errors over each patch's pixels inside the picture, and over the channels.

    A patch that lies wholly beyond the display size has no pixels: its sum is 0, and so is its `patch_pixel_counts`.

    Args:
        reference, restored: (display_height, display_width, C) or without C, uint8.

    Returns:
        (rows * columns,) float64 in raster order.
    """
    error = squared_error(reference, restored)
    row_starts = np.arange(0, picture.display_height, picture.scale * grid.patch_height)
    column_starts = np.arange(0, picture.display_width, picture.scale * grid.patch_width)
    by_rows = np.add.reduceat(error, row_starts, axis=0, dtype=np.int64)
    sums = np.zeros((grid.rows, grid.columns))
    sums[: len(row_starts), : len(column_starts)] = np.add.reduceat(by_rows, column_starts, axis=1)
    return sums.reshape(-1)


def patch_pixel_counts(picture: Picture, grid: PatchGrid) -> npt.NDArray[np.int64]:
    """Each patch's high-resolution pixels inside the picture: (rows * columns,) int64 in raster order."""
    heights = _overlaps(grid.rows, picture.scale * grid.patch_height, picture.display_height)
    widths = _overlaps(grid.columns, picture.scale * grid.patch_width, picture.display_width)
    return np.outer(heights, widths).reshape(-1)


def _overlaps(count: int, patch_size: int, display_size: int) -> npt.NDArray[np.int64]:
    starts = np.arange(count, dtype=np.int64) * patch_size
    return np.clip(display_size - starts, 0, patch_size)


def _interior_mask(display_size: int, patch_size: int, shave: int) -> npt.NDArray[np.bool_]:
    position = np.arange(display_size) % patch_size
    return (position >= shave) & (position < patch_size - shave)


def _total(error: npt.NDArray[np.int32]) -> int:
    return int(error.sum(dtype=np.int64))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _frame_mean(mean_squared_errors: Sequence[float]) -> float:
    figures = [psnr(error) for error in mean_squared_errors]
    return _mean([FRAME_PSNR_WITHOUT_ERROR if figure is None else figure for figure in figures])
