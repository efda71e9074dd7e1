"""A picture of where the error is: PSNR of each patch over a frame, as f0 restores it and as the bundle does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from stdo.bundle.bundle import Bundle
from stdo.bundle.geometry import FrameLayout
from stdo.bundle.manifest import FileEntry
from stdo.cli.output import UsageError
from stdo.decoder.restored_frame import RestoredFrame
from stdo.quality.patch_errors import PATCH_ERRORS_NAME, decibels, decode_patch_errors, measured_frame

_PANEL_WIDTHS = (480, 960)
"""Pixels, the least and the most, of either picture of the frame."""
_MARGIN = 16
_FONT_SIZE = 16
_LINE_HEIGHT = 28
_BAR_HEIGHT = 18
_OPACITY = 0.7
"""Of the colours over the grey picture."""
_TICKS = 6
_VIRIDIS = np.array(
    [
        (68, 1, 84), (71, 44, 122), (59, 81, 139), (44, 113, 142), (33, 144, 141),
        (39, 173, 129), (92, 200, 99), (170, 220, 50), (253, 231, 37),
    ],
    np.float64,
)  # fmt: skip
"""Nine colours of matplotlib's map of that name, evenly spaced. It reads the same without colour vision."""

_Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredFrame:
    """The patches of one frame: PSNR in dB, (rows * columns,)."""

    number: int
    f0: npt.NDArray[np.float64]
    restored: npt.NDArray[np.float64]

    @property
    def gain(self) -> float:
        """dB over the whole frame."""
        return frame_psnr(self.restored) - frame_psnr(self.f0)


def frame_psnr(patches: npt.NDArray[np.float64]) -> float:
    """PSNR in dB of patches together, each taken as of one size."""
    return float(-10 * np.log10(np.mean(10 ** (-patches / 10))))


def read_measured_frame(bundle: Bundle, wanted: int | None) -> MeasuredFrame:
    """The last measured frame that isn't after the wanted one; by default the one with the highest gain.

    Raises:
        UsageError: the bundle has no patch errors, or no such frame.
        MalformedPatchErrorsError: they can't be read.
    """
    frame_count = bundle.manifest.picture.frame_count
    if wanted is not None and wanted >= frame_count:
        raise UsageError(f"--frame {wanted}: the video has frames 0 to {frame_count - 1}.")
    chosen: MeasuredFrame | None = None
    for frame in _measured_frames(bundle):
        if chosen is None or (frame.gain > chosen.gain if wanted is None else frame.number <= wanted):
            chosen = frame
    if chosen is None:
        raise UsageError("The bundle has no patch errors: no frame of it was measured.")
    return chosen


def draw_heatmap(frame: RestoredFrame, measured: MeasuredFrame, layout: FrameLayout) -> Image.Image:
    """Both restorations of a frame side by side, and what the colours mean."""
    grey = (frame.luma >> (frame.bit_depth - 8)).astype(np.uint8)
    panel_width = int(np.clip(grey.shape[1], *_PANEL_WIDTHS))
    size = panel_width, max(1, round(grey.shape[0] * panel_width / grey.shape[1]))
    background = np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.LANCZOS))
    low, high = _limits(measured)
    picture = Image.new(
        "RGB", (2 * panel_width + 3 * _MARGIN, size[1] + 2 * _MARGIN + 4 * _LINE_HEIGHT + _BAR_HEIGHT), "white"
    )
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(_FONT_SIZE)
    draw.text((_MARGIN, _MARGIN), f"Frame {measured.number}, gain {measured.gain:+.2f} dB", "black", font)
    for place, (title, patches) in enumerate((("f0", measured.f0), ("restored", measured.restored))):
        left, top = _MARGIN + place * (panel_width + _MARGIN), _MARGIN + 2 * _LINE_HEIGHT
        draw.text((left, top - _LINE_HEIGHT), f"{title}: {frame_psnr(patches):.2f} dB", "black", font)
        colours = _colours((_patch_of_pixel(patches, size, layout) - low) / (high - low))
        panel = (1 - _OPACITY) * background[..., np.newaxis] + _OPACITY * colours
        picture.paste(Image.fromarray(panel.round().astype(np.uint8)), (left, top))
    _draw_legend(picture, draw, font, (low, high), top=_MARGIN + 2 * _LINE_HEIGHT + size[1] + _MARGIN)
    return picture


def _measured_frames(bundle: Bundle) -> Iterator[MeasuredFrame]:
    """One segment of them is held at a time."""
    quality, picture = bundle.manifest.quality, bundle.manifest.picture
    grid = bundle.manifest.patch_grid
    if quality is None or grid is None or (file := _patch_errors(quality.files)) is None:
        raise UsageError("The bundle has no patch errors: it has no networks, or its reports were stripped.")
    segments = decode_patch_errors(
        bundle.read(file), frames_measured=quality.frames_measured, patch_count=grid.patch_count
    )
    for segment in segments:
        for place, (f0, restored) in enumerate(zip(segment.f0, segment.restored, strict=True), segment.first_measured):
            number = measured_frame(place, frame_count=picture.frame_count, frames_measured=quality.frames_measured)
            yield MeasuredFrame(number=number, f0=decibels(f0), restored=decibels(restored))


def _patch_errors(files: tuple[FileEntry, ...]) -> FileEntry | None:
    return next((file for file in files if file.path == PATCH_ERRORS_NAME), None)


def _limits(measured: MeasuredFrame) -> tuple[float, float]:
    """Whole dB between which nearly all patches lie, the same for both pictures."""
    low, high = np.percentile(np.concatenate([measured.f0, measured.restored]), [2, 98])
    return float(np.floor(low)), float(max(np.ceil(high), np.floor(low) + 1))


def _patch_of_pixel(
    patches: npt.NDArray[np.float64], size: tuple[int, int], layout: FrameLayout
) -> npt.NDArray[np.float64]:
    """(h, w) of the panel: the figure of the patch in which each of its pixels lies."""
    grid, picture = layout.grid, layout.picture
    assert grid is not None
    across = (np.arange(size[0]) + 0.5) * picture.display_width / size[0] // (grid.patch_width * picture.scale)
    down = (np.arange(size[1]) + 0.5) * picture.display_height / size[1] // (grid.patch_height * picture.scale)
    figures: npt.NDArray[np.float64] = patches.reshape(grid.rows, grid.columns)[
        down.astype(int)[:, np.newaxis], across.astype(int)
    ]
    return figures


def _colours(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(...) from 0 to 1 -> (..., 3) from 0 to 255."""
    places = np.linspace(0, 1, len(_VIRIDIS))
    return np.stack([np.interp(values, places, channel) for channel in _VIRIDIS.T], axis=-1)


def _draw_legend(
    picture: Image.Image, draw: ImageDraw.ImageDraw, font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    limits: tuple[float, float], *, top: int,
) -> None:  # fmt: skip
    width = picture.width - 4 * _MARGIN
    bar: _Pixels = np.tile(_colours(np.linspace(0, 1, width)).round().astype(np.uint8), (_BAR_HEIGHT, 1, 1))
    picture.paste(Image.fromarray(bar), (2 * _MARGIN, top))
    for part in np.linspace(0, 1, _TICKS):
        text = f"{limits[0] + part * (limits[1] - limits[0]):.1f}"
        draw.text((2 * _MARGIN + part * width, top + _BAR_HEIGHT + 4), text, "black", font, anchor="ma")
    below = top + _BAR_HEIGHT + _LINE_HEIGHT
    draw.text((picture.width / 2, below), "PSNR of the patch (RGB), dB", "black", font, anchor="ma")
