"""Stage 1: what the uploaded file really is, and how it becomes a plain 8-bit 4:2:0 picture.

Everything here is found by decoding the whole file once; headers lie.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from stdo.bundle.geometry import base_size
from stdo.bundle.manifest import Colour, Picture, Rational, Source
from workers.ffmpeg.program import FFmpeg, VideoFilter
from workers.file_hash import file_sha256
from workers.progress import Progress
from workers.source.normalise import NormalisedPicture, normalise
from workers.source.source_counts import SourceLimits as SourceLimits
from workers.source.source_file import ReadSource, read_source
from workers.source.timeline import Timeline, make_timeline


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FrameSteps(_Frozen):
    """Some consecutive frames that all lie equally far from the next one."""

    ticks: Annotated[int, Field(gt=0)]
    count: Annotated[int, Field(gt=0)]


class SourceInfo(_Frozen):
    """What later stages need to know about the source. The frame times are the truth that every other reading is
    checked against."""

    source: Source
    display_width: Annotated[int, Field(gt=0)]
    """Of the normalised picture: upright, with square pixels."""
    display_height: Annotated[int, Field(gt=0)]
    colour: Colour
    """Of the normalised picture."""
    video_stream_index: Annotated[int, Field(ge=0)]
    audio_stream_index: Annotated[int, Field(ge=0)] | None
    filters: tuple[VideoFilter, ...]
    """What makes the normalised picture at display size out of a decoded frame, in order."""
    tick: Rational
    """Seconds a tick."""
    first_frame_tick: Annotated[int, Field(ge=0)]
    """Time of the first frame; 0 unless sound starts before it."""
    frame_steps: tuple[FrameSteps, ...]
    """Distances between consecutive frames: `frame_count - 1` in all."""

    def frame_times(self) -> Iterator[Fraction]:
        """Presentation time of each frame, in seconds."""
        seconds_per_tick = Fraction(self.tick.numerator, self.tick.denominator)
        now = self.first_frame_tick
        yield now * seconds_per_tick
        for steps in self.frame_steps:
            for _ in range(steps.count):
                now += steps.ticks
                yield now * seconds_per_tick

    def picture(self, scale: int) -> Picture:
        """Geometry and time of the restored picture at `scale`. The source canvas is `scale * base_width` wide."""
        return Picture(
            scale=scale,
            display_width=self.display_width,
            display_height=self.display_height,
            base_width=base_size(self.display_width, scale),
            base_height=base_size(self.display_height, scale),
            frame_count=self.source.frame_count,
            average_frame_rate=self.source.average_frame_rate,
            variable_frame_rate=self.source.variable_frame_rate,
            duration_seconds=self.source.duration_seconds,
            colour=self.colour,
        )


def probe_source(path: Path, *, limits: SourceLimits, report: Progress, program: FFmpeg | None = None) -> SourceInfo:
    """Read all of an uploaded file, and say what it is and what is done about its peculiarities.

    Raises:
        RefusedSourceError: one of its subclasses says why the file can't be encoded.
    """
    read = read_source(path, limits, report)
    timeline = make_timeline(read.times, read.frame_count)
    picture = normalise(read, timeline, program or FFmpeg(), max_pixels_per_frame=limits.max_pixels_per_frame)
    return SourceInfo(
        source=_source(path, read, timeline, picture),
        display_width=picture.width,
        display_height=picture.height,
        colour=picture.colour,
        video_stream_index=read.video_stream_index,
        audio_stream_index=read.audio_stream_index,
        filters=picture.filters,
        tick=_rational(timeline.tick_seconds),
        first_frame_tick=int(timeline.ticks[0]),
        frame_steps=tuple(FrameSteps(ticks=ticks, count=count) for ticks, count in timeline.steps()),
    )


def _source(path: Path, read: ReadSource, timeline: Timeline, picture: NormalisedPicture) -> Source:
    return Source(
        sha256=file_sha256(path),
        byte_count=path.stat().st_size,
        container=read.container,
        video_codec=read.video_codec,
        pixel_format=read.frame_format.pixel_format,
        coded_width=read.frame_format.width,
        coded_height=read.frame_format.height,
        rotation_degrees=picture.rotation_degrees,
        frame_count=read.frame_count,
        duration_seconds=float(timeline.duration_seconds),
        average_frame_rate=_rational(timeline.average_frame_rate),
        variable_frame_rate=timeline.variable_frame_rate,
        audio_codec=read.audio_codec,
        input_normalisations=picture.notes,
    )


def _rational(fraction: Fraction) -> Rational:
    return Rational(numerator=fraction.numerator, denominator=fraction.denominator)
