"""Restores the bundle once, and takes from that one pass all that the demo shows and checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from demo.errors import DemoError
from demo.source_frames import source_frames
from stdo.bundle.bundle import Bundle
from stdo.decoder.frame_restorer import as_decoded
from stdo.decoder.frames import YuvFrame
from stdo.decoder.reconstruction import coded_frames, reconstruct
from stdo.decoder.restored_frame import RestoredFrame
from stdo.decoder.video_writer import write_mp4
from stdo.quality.patch_errors import measured_frame
from stdo.quality.psnr import psnr, squared_error

FrameProgress = Callable[[int, int], None]
"""Called with (frames done, frames in total)."""
_CROP_UNIT = 8
"""Crops start at multiples of so many pixels, and are multiples of them wide and high."""


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A part of a frame, in pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """Three versions of a frame, and the crop in which the restored luma gains most over bicubic."""

    frame_number: int
    crop: Crop
    source: RestoredFrame
    bicubic: RestoredFrame
    restored: RestoredFrame


@dataclass(frozen=True, kw_only=True, eq=False)
class Restoration:
    """What the pass found."""

    frame_count: int
    luma_psnr: float | None
    """Measured here: all pixels of the frames that the bundle's own figures are of, against the source, in dB; None
    where there is no error at all."""
    comparison: Comparison


def restore(bundle: Bundle, video: Path, target: Path, *, shown_frame: int, on_progress: FrameProgress) -> Restoration:
    """Write the restored MP4, and compare its frames with the source on the way.

    Args:
        shown_frame: the number of the frame to be compared in pictures.

    Raises:
        StdoError: the bundle can't be restored, or the video can't be written.
        DemoError: the source can't be read again, or has not as many frames as the bundle.
    """
    manifest = bundle.manifest
    assert manifest.quality is not None
    frame_count, frames_measured = manifest.picture.frame_count, manifest.quality.frames_measured
    measured = {
        measured_frame(place, frame_count=frame_count, frames_measured=frames_measured)
        for place in range(frames_measured)
    }
    errors: list[float] = []
    shown: list[tuple[RestoredFrame, YuvFrame]] = []

    def watched() -> Iterator[RestoredFrame]:
        pairs = zip(reconstruct(bundle), source_frames(video, manifest), strict=True)
        for number, (restored, source) in enumerate(pairs):
            if number in measured:
                errors.append(float(squared_error(source.y, restored.luma).mean()))
            if number == shown_frame:
                shown.append((restored, source))
            yield restored
            on_progress(number + 1, frame_count)

    try:
        written = write_mp4(watched(), target, bundle=bundle)
    except (ValueError, av.FFmpegError) as error:
        raise DemoError(f"{video} can't be compared with what was restored of it: {error}") from error
    return Restoration(
        frame_count=written,
        luma_psnr=psnr(float(np.mean(errors)), manifest.picture.bit_depth),
        comparison=_comparison(bundle, shown_frame, *shown[0]),
    )


def best_crop(gain: npt.NDArray[np.int32]) -> Crop:
    """Where a picture gains most: the crop with the largest sum, a fifth of the picture wide and high.

    Args:
        gain: (h, w), how much smaller the squared error of each pixel has become.
    """
    height, width = gain.shape
    unit = _CROP_UNIT if min(height, width) >= 5 * _CROP_UNIT else 1
    rows, columns = height // unit, width // unit
    blocks = gain[: rows * unit, : columns * unit].reshape(rows, unit, columns, unit).sum(axis=(1, 3), dtype=np.int64)
    crop_rows, crop_columns = max(1, rows // 5), max(1, columns // 5)
    sums = np.lib.stride_tricks.sliding_window_view(blocks, (crop_rows, crop_columns)).sum(axis=(2, 3))
    row, column = (int(place) for place in np.unravel_index(int(sums.argmax()), sums.shape))
    return Crop(left=column * unit, top=row * unit, width=crop_columns * unit, height=crop_rows * unit)


def _comparison(bundle: Bundle, number: int, restored: RestoredFrame, source: YuvFrame) -> Comparison:
    layout, picture = bundle.layout, bundle.manifest.picture
    coded = next(coded_frames(bundle, [number]))

    def view(planes: YuvFrame) -> RestoredFrame:
        return RestoredFrame(
            time=restored.time, colour=picture.colour, bit_depth=picture.bit_depth, restored_yuv=planes
        )

    bicubic = as_decoded(coded.base, layout)
    gain = squared_error(source.y, bicubic.y) - squared_error(source.y, restored.luma)
    return Comparison(
        frame_number=number, crop=best_crop(gain), source=view(source), bicubic=view(bicubic), restored=restored
    )
