"""What is counted and checked while a source is decoded, frame after frame, at sixteen bytes of memory a frame."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Annotated

import numpy as np
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from pydantic import BaseModel, ConfigDict, Field

from workers.errors import ChangingPictureError, VideoTooLongError
from workers.source.scene_changes import SceneMeter


class SourceLimits(BaseModel):
    """What is refused for its sheer size."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_duration_seconds: Annotated[float, Field(gt=0)] = 4 * 3600.0
    max_frames: Annotated[int, Field(gt=0)] = 1_000_000
    max_pixels_per_frame: Annotated[int, Field(gt=0)] = 4096 * 2304
    max_streams: Annotated[int, Field(gt=0)] = 64


@dataclass(frozen=True, kw_only=True)
class FrameFormat:
    """What a decoded frame says about itself. Colour codes are those of ITU-T H.273."""

    width: int
    height: int
    pixel_format: str
    matrix: int
    primaries: int
    transfer: int
    full_range: bool | None
    display_matrix: tuple[int, int, int, int] | None
    """a, b, c, d of the file's wish to turn the picture: (x, y) goes to (a x + c y, b x + d y), y pointing down."""
    has_dolby_vision: bool


@dataclass(kw_only=True)
class SourceCounts:
    """What was counted so far."""

    tick_seconds: Fraction
    limits: SourceLimits
    counts_packets: bool
    """Whether the container (AVI) has no timestamps: its n-th packet is the n-th picture, unless it is empty."""
    first: FrameFormat | None = None
    ticks: array[int] = field(default_factory=lambda: array("q"))
    has_all_ticks: bool = True
    frame_count: int = 0
    interlaced_frame_count: int = 0
    damaged_frame_count: int = 0
    last_frame_ticks: int | None = None
    audio_packet_count: int = 0
    scenes: SceneMeter = field(default_factory=SceneMeter)

    def add(self, frame: VideoFrame) -> None:
        """Count one frame.

        Raises:
            ChangingPictureError, VideoTooLongError
        """
        if self.first is None:
            self.first = _frame_format(frame)
        elif (frame.width, frame.height, frame.format.name) != (
            self.first.width,
            self.first.height,
            self.first.pixel_format,
        ):
            raise ChangingPictureError(
                f"Frame {self.frame_count} is {frame.width}x{frame.height} {frame.format.name}, the first one was "
                f"{self.first.width}x{self.first.height} {self.first.pixel_format}. Encode it anew at one size."
            )
        self.frame_count += 1
        self.interlaced_frame_count += frame.interlaced_frame
        self.damaged_frame_count += frame.is_corrupt
        self.last_frame_ticks = frame.duration or None
        self._add_time(frame)
        self.scenes.add(frame)
        if self.frame_count > self.limits.max_frames:
            raise VideoTooLongError(
                f"The video has more than {self.limits.max_frames} frames, the most that this service takes. "
                "Cut it into parts."
            )

    def _add_time(self, frame: VideoFrame) -> None:
        ticks = self._packet_number(frame) if self.counts_packets else frame.pts
        if ticks is None:
            self.has_all_ticks = False
            return
        self.ticks.append(ticks)
        seconds = float((ticks - self.ticks[0]) * self.tick_seconds)
        if seconds > self.limits.max_duration_seconds:
            raise too_long(seconds, self.limits)

    def _packet_number(self, frame: VideoFrame) -> int | None:
        """The packet at which the decoder gave the frame out. Frames that it still holds at the end have none: each of
        them counts as one later than the frame before."""
        if frame.dts is not None or not self.ticks:
            return frame.dts
        return self.ticks[-1] + 1


def too_long(seconds: float, limits: SourceLimits) -> VideoTooLongError:
    """The error for a video that lasts at least so long."""
    return VideoTooLongError(
        f"The video lasts {seconds:.0f} s or more, and this service takes at most {limits.max_duration_seconds:.0f} s. "
        "Cut it into parts."
    )


def _frame_format(frame: VideoFrame) -> FrameFormat:
    return FrameFormat(
        width=frame.width,
        height=frame.height,
        pixel_format=frame.format.name,
        matrix=int(frame.colorspace),
        primaries=int(frame.color_primaries),
        transfer=int(frame.color_trc),
        full_range={1: False, 2: True}.get(int(frame.color_range)),
        display_matrix=_display_matrix(frame),
        has_dolby_vision=frame.side_data.get("DOVI_METADATA") is not None,
    )


def _display_matrix(frame: VideoFrame) -> tuple[int, int, int, int] | None:
    side_data = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(side_data, SideData):
        return None
    entries = np.frombuffer(bytes(side_data), np.int32)
    return int(entries[0]), int(entries[1]), int(entries[3]), int(entries[4])
