"""Short ways to the stages that read a source, and an independent reading to compare them with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from core.encoding_settings import EncodingSettings
from stdo.decoder.frames import YuvFrame
from stdo.service.resources import ProgressUnit, Stage
from workers.ffmpeg.program import FFmpeg
from workers.source.frames import read_source_frames
from workers.source.probe import SourceInfo, SourceLimits, probe_source

Samples = npt.NDArray[Any]


def silent(stage: Stage, done: int, total: int, unit: ProgressUnit) -> None:
    """A `Progress` that tells nobody."""


def probe(path: Path, **limits: float) -> SourceInfo:
    """What the file is, under the default limits unless told otherwise."""
    return probe_source(path, limits=SourceLimits.model_validate(limits), report=silent, program=FFmpeg())


def settings_of(**settings: Any) -> EncodingSettings:
    """The default settings but for these."""
    return EncodingSettings.model_validate(settings)


def canvas_frames(path: Path, **settings: Any) -> list[YuvFrame]:
    """Every frame of a source, as the later stages see it under these settings."""
    info = probe(path)
    return list(read_source_frames(path, info, info.picture(settings_of(**settings)), program=FFmpeg()))


def decoded_planes(path: Path) -> list[tuple[Samples, ...]]:
    """Every plane of every frame as PyAV decodes it, without any conversion; 16-bit where samples have more than 8."""
    with av.open(str(path)) as container:
        return [
            tuple(_plane(frame, number) for number in range(len(frame.planes))) for frame in container.decode(video=0)
        ]


def codes(info: SourceInfo) -> set[str]:
    """The codes of what is normalised."""
    return {note.code for note in info.source.input_normalisations}


def mean_squared_error(first: Samples, second: Samples) -> float:
    """Over all samples."""
    return float(np.mean((first.astype(float) - second.astype(float)) ** 2))


def _plane(frame: av.VideoFrame, number: int) -> Samples:
    plane = frame.planes[number]
    kind = np.dtype("u1" if frame.format.components[0].bits == 8 else "<u2")
    rows = np.frombuffer(plane, kind).reshape(plane.height, plane.line_size // kind.itemsize)
    return rows[:, : plane.width]
