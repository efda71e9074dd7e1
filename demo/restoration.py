"""Restores the bundle once, and takes from that one pass all that the demo shows and checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import log10
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from demo.errors import DemoError
from demo.source_frames import source_frames
from stdo.bundle.bundle import Bundle
from stdo.bundle.geometry import Image
from stdo.bundle.manifest import Picture
from stdo.decoder.frames import Plane, YuvFrame, decode_video, yuv_to_rgb
from stdo.decoder.reconstruction import reconstruct
from stdo.decoder.restored_frame import RestoredFrame
from stdo.decoder.upscale import resize_frame, resize_plane
from stdo.decoder.video_writer import write_mp4

FrameProgress = Callable[[int, int], None]
"""Called with (frames done, frames in total)."""
_CROP_STEP = 8
"""Crops start at multiples of so many pixels, and are multiples of them wide and high."""


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A part of a frame, in pixels."""

    left: int
    top: int
    width: int
    height: int

    def of(self, image: Image) -> Image:
        """The part, as a view, of an (h, w, 3) image or an (h, w) plane."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """One version of a frame."""

    rgb: Image
    """(h, w, 3) uint8"""
    luma: Plane
    """(h, w) uint8"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """The frame and the crop in which the restored luma gains most over bicubic."""

    frame_number: int
    crop: Crop
    source: View
    bicubic: View
    restored: View


@dataclass(frozen=True, kw_only=True, eq=False)
class Restoration:
    """What the pass found."""

    frame_count: int
    luma_psnr: float | None
    """Measured here: all pixels of all frames against the source, in dB; None where there is no error at all."""
    comparison: Comparison
    source_images: dict[int, Image]
    """The frames that were asked for, (h, w, 3) uint8."""


def restore(
    bundle: Bundle, video: Path, target: Path, *, wanted_source_frames: set[int], on_progress: FrameProgress
) -> Restoration:
    """Write the restored MP4, and compare each of its frames with the source on the way.

    Raises:
        StdoError: the bundle can't be restored, or the video can't be written.
        DemoError: the source can't be read again, or has not as many frames as the bundle.
    """
    picture, base_stream = bundle.manifest.picture, bundle.path(bundle.manifest.base_stream)
    watch = _Watch(picture, wanted_source_frames)

    def watched() -> Iterator[RestoredFrame]:
        triples = zip(
            reconstruct(bundle), decode_video(base_stream), source_frames(video, bundle.manifest), strict=True
        )
        for number, (restored, small, source) in enumerate(triples):
            watch.add(number, restored, small, source)
            yield restored
            on_progress(number + 1, picture.frame_count)

    try:
        frame_count = write_mp4(watched(), target, picture=picture, base_stream=base_stream)
    except (ValueError, av.FFmpegError) as error:
        raise DemoError(f"{video} can't be compared with what was restored of it: {error}") from error
    return Restoration(
        frame_count=frame_count,
        luma_psnr=watch.luma_psnr(),
        comparison=watch.comparison(),
        source_images=watch.source_images,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Best:
    number: int
    crop: Crop
    restored: RestoredFrame
    small: YuvFrame
    source: YuvFrame


class _Watch:
    """Sees each frame once; keeps sums, and the frame that shows most."""

    def __init__(self, picture: Picture, wanted_source_frames: set[int]) -> None:
        self.source_images: dict[int, Image] = {}
        self._picture = picture
        self._wanted = wanted_source_frames
        self._squared_error = 0
        self._samples = 0
        self._best: _Best | None = None
        self._best_gain = -np.inf

    def add(self, number: int, restored: RestoredFrame, small: YuvFrame, source: YuvFrame) -> None:
        picture = self._picture
        bicubic = resize_plane(small.y, scale=picture.scale, filter="bicubic")
        error = _squared(source.y, restored.luma)
        self._squared_error += int(error.sum(dtype=np.int64))
        self._samples += error.size
        crop, gain = best_crop(_squared(source.y, bicubic[: source.y.shape[0], : source.y.shape[1]]) - error)
        if gain > self._best_gain:
            self._best_gain = gain
            self._best = _Best(number=number, crop=crop, restored=restored, small=small, source=source)
        if number in self._wanted:
            self.source_images[number] = yuv_to_rgb(source, picture.colour)

    def luma_psnr(self) -> float | None:
        return 10 * log10(255**2 * self._samples / self._squared_error) if self._squared_error else None

    def comparison(self) -> Comparison:
        picture, best = self._picture, self._best
        assert best is not None
        bicubic = resize_frame(best.small, scale=picture.scale, filter="bicubic")
        shown = bicubic.cropped(width=picture.display_width, height=picture.display_height)
        return Comparison(
            frame_number=best.number,
            crop=best.crop,
            source=View(rgb=yuv_to_rgb(best.source, picture.colour), luma=best.source.y),
            bicubic=View(rgb=yuv_to_rgb(shown, picture.colour), luma=shown.y),
            restored=View(rgb=best.restored.rgb, luma=best.restored.luma),
        )


def best_crop(gain: npt.NDArray[np.int32]) -> tuple[Crop, float]:
    """Where a picture gains most, and how much: the crop with the largest sum, a fifth of the picture wide and high.

    Args:
        gain: (h, w), how much smaller the squared error of each pixel has become.
    """
    height, width = gain.shape
    step = _CROP_STEP if min(height, width) >= 5 * _CROP_STEP else 1
    rows, columns = height // step, width // step
    blocks = gain[: rows * step, : columns * step].reshape(rows, step, columns, step).sum(axis=(1, 3), dtype=np.int64)
    crop_rows, crop_columns = max(1, rows // 5), max(1, columns // 5)
    sums = np.zeros((rows + 1, columns + 1), np.int64)
    sums[1:, 1:] = blocks.cumsum(axis=0).cumsum(axis=1)
    by_rows = sums[crop_rows:] - sums[:-crop_rows]
    totals = by_rows[:, crop_columns:] - by_rows[:, :-crop_columns]
    row, column = (int(place) for place in np.unravel_index(int(totals.argmax()), totals.shape))
    crop = Crop(left=column * step, top=row * step, width=crop_columns * step, height=crop_rows * step)
    return crop, float(totals[row, column])


def _squared(first: Plane, second: Plane) -> npt.NDArray[np.int32]:
    difference = first.astype(np.int32)
    difference -= second
    difference *= difference
    return difference
