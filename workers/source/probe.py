"""What the uploaded file really is, and how it becomes a plain 4:2:0 picture.

Everything here is found by decoding the whole file once; headers lie. It is done once for a video, and kept beside it:
whoever changes what is found raises core.jobs.part_kinds.PROBE_VERSION.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from core.encoding_settings import EncodingSettings
from stdo.bundle.codecs import CODECS, BitDepth
from stdo.bundle.files import file_sha256
from stdo.bundle.geometry import base_size
from stdo.bundle.manifest import Picture, Rational, Source
from workers.ffmpeg.program import FFmpeg
from workers.progress import Progress
from workers.source.normalise import NormalisedPicture, PictureForm, normalise
from workers.source.scene_changes import FrameNumbers
from workers.source.segments import plan_even_segments, plan_segments
from workers.source.source_counts import SourceLimits as SourceLimits
from workers.source.source_counts import too_long
from workers.source.source_file import ReadSource, read_source
from workers.source.timeline import Ticks, Timeline, make_timeline

_FACTS_NAME, _FRAMES_NAME = "source_info.json", "frame_times.npz"


class SourceFacts(BaseModel):
    """What is known of the source as a whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Source
    """With the notes of the form that keeps most."""
    display_width: Annotated[int, Field(gt=0)]
    """Of the normalised picture: upright, with square pixels."""
    display_height: Annotated[int, Field(gt=0)]
    kept: PictureForm
    """The picture with the source's own depth, ten bits at most; HDR stays HDR."""
    tone_mapped: PictureForm | None
    """The picture as SDR with 8 bits, of an HDR source alone."""
    video_stream_index: Annotated[int, Field(ge=0)]
    audio_stream_index: Annotated[int, Field(ge=0)] | None
    tick: Rational
    """Seconds a tick."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceInfo:
    """What later stages need to know about the source. The frame times are the truth that every other reading is
    checked against."""

    facts: SourceFacts
    frame_ticks: Ticks
    """(frames,) int64, increasing strictly: the time of each frame. The first is 0 unless sound starts before it."""
    scene_changes: FrameNumbers
    """The first frames of new scenes, ascending."""

    def save(self, folder: Path) -> None:
        """Write source_info.json and frame_times.npz."""
        (folder / _FACTS_NAME).write_text(self.facts.model_dump_json())
        np.savez_compressed(folder / _FRAMES_NAME, ticks=self.frame_ticks, scene_changes=self.scene_changes)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        facts = SourceFacts.model_validate_json((folder / _FACTS_NAME).read_bytes())
        with np.load(folder / _FRAMES_NAME, allow_pickle=False) as arrays:
            return cls(facts=facts, frame_ticks=arrays["ticks"], scene_changes=arrays["scene_changes"])

    @property
    def source(self) -> Source:
        """What the file was before any normalisation."""
        return self.facts.source

    def frame_times(self) -> Iterator[Fraction]:
        """Presentation time of each frame, in seconds."""
        seconds_per_tick = self.facts.tick.fraction
        return (int(tick) * seconds_per_tick for tick in self.frame_ticks)

    def form(self, picture: Picture) -> PictureForm:
        """How decoded frames become this picture, one of `picture`'s."""
        tone_mapped = self.facts.tone_mapped
        return tone_mapped if tone_mapped is not None and picture.colour == tone_mapped.colour else self.facts.kept

    def source_of(self, picture: Picture) -> Source:
        """The source with the notes of what was done to make this picture."""
        return self.source.model_copy(update={"input_normalisations": self.form(picture).notes})

    def picture(self, settings: EncodingSettings) -> Picture:
        """Geometry, depth and time of the restored picture. The source canvas is `scale * base_width` wide."""
        facts, scale = self.facts, settings.scale
        form = (
            facts.kept if facts.tone_mapped is None or keeps_hdr(settings, facts.kept.bit_depth) else facts.tone_mapped
        )
        return Picture(
            scale=scale,
            display_width=facts.display_width,
            display_height=facts.display_height,
            base_width=base_size(facts.display_width, scale),
            base_height=base_size(facts.display_height, scale),
            bit_depth=form.bit_depth,
            frame_count=self.source.frame_count,
            average_frame_rate=self.source.average_frame_rate,
            variable_frame_rate=self.source.variable_frame_rate,
            duration_seconds=self.source.duration_seconds,
            colour=form.colour,
        )

    def segment_starts(self, settings: EncodingSettings) -> tuple[int, ...]:
        """The first frame of each segment."""
        seconds, tick = settings.base_stream.segment_seconds, self.facts.tick.fraction
        if not CODECS[settings.base_stream.codec].places_key_frames:
            return plan_even_segments(self.frame_ticks, tick_seconds=tick, segment_seconds=seconds)
        return plan_segments(
            self.frame_ticks, tick_seconds=tick, scene_changes=self.scene_changes, segment_seconds=seconds
        )


def keeps_hdr(settings: EncodingSettings, source_depth: BitDepth) -> bool:
    """Whether an HDR source stays HDR: where it is asked for, or else where codec and depth carry it.

    Args:
        source_depth: of the picture that would be kept.
    """
    if settings.hdr is not None:
        return settings.hdr == "keep"
    codec, asked = CODECS[settings.base_stream.codec], settings.base_stream.bit_depth
    return codec.carries_hdr and 10 in ((codec.bit_depths[0], source_depth) if asked is None else (asked,))


def probe_source(
    path: Path, *, limits: SourceLimits, report: Progress, program: FFmpeg, sha256: str | None = None
) -> SourceInfo:
    """Read all of an uploaded file, and say what it is and what is done about its peculiarities.

    Args:
        sha256: the file's hash in hex, where it is known already: it is then not computed again.

    Raises:
        RefusedSourceError: one of its subclasses says why the file can't be encoded.
    """
    read = read_source(path, limits, report)
    timeline = make_timeline(read.times, read.frame_count)
    # Reading has checked the file's own timestamps. Times made anew, and the last frame's duration, can be longer.
    if timeline.duration_seconds > limits.max_duration_seconds:
        raise too_long(float(timeline.duration_seconds), limits)
    picture = normalise(read, timeline, program, max_pixels_per_frame=limits.max_pixels_per_frame)
    facts = SourceFacts(
        source=_source(path, read, timeline, picture, sha256=sha256 or file_sha256(path)),
        display_width=picture.width,
        display_height=picture.height,
        kept=picture.kept,
        tone_mapped=picture.tone_mapped,
        video_stream_index=read.video_stream_index,
        audio_stream_index=read.audio_stream_index,
        tick=Rational.of(timeline.tick_seconds),
    )
    return SourceInfo(facts=facts, frame_ticks=timeline.ticks, scene_changes=read.scene_changes)


def _source(path: Path, read: ReadSource, timeline: Timeline, picture: NormalisedPicture, *, sha256: str) -> Source:
    return Source(
        sha256=sha256,
        byte_count=path.stat().st_size,
        container=read.container,
        video_codec=read.video_codec,
        pixel_format=read.frame_format.pixel_format,
        coded_width=read.frame_format.width,
        coded_height=read.frame_format.height,
        rotation_degrees=picture.rotation_degrees,
        frame_count=read.frame_count,
        duration_seconds=float(timeline.duration_seconds),
        average_frame_rate=Rational.of(timeline.average_frame_rate),
        variable_frame_rate=timeline.variable_frame_rate,
        audio_codec=read.audio_codec,
        input_normalisations=picture.kept.notes,
    )
