"""The source again, to compare with: by PyAV where the encoder took its samples as they are, else by its own reader."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from core.settings import load_settings
from demo.errors import DemoError
from stdo.bundle.codecs import BitDepth
from stdo.bundle.geometry import sample_type
from stdo.bundle.manifest import Manifest
from stdo.decoder.frames import Plane, YuvFrame
from workers.ffmpeg.program import FFmpeg
from workers.source.frames import read_source_frames
from workers.source.probe import SourceLimits, probe_source

_SAMPLES_UNTOUCHED = frozenset(
    {
        "audio_converted",
        "colour_assumed",
        "odd_size_extended",
        "pixel_aspect_ignored",
        "rotation_ignored",
        "start_time_removed",
        "timestamps_nudged",
        "timestamps_rebuilt",
        "variable_frame_rate_kept",
    }
)
"""Normalisations that leave the samples of the picture as a decoder gives them."""
_PIXEL_FORMATS: dict[str, BitDepth] = {"yuv420p": 8, "yuvj420p": 8, "yuv420p10le": 10}


def is_read_independently(manifest: Manifest) -> bool:
    """Whether PyAV alone gives the frames. Where the encoder had to change them, only its own reader does."""
    assert manifest.source is not None
    return {one.code for one in manifest.source.input_normalisations} <= _SAMPLES_UNTOUCHED


def source_frames(video: Path, manifest: Manifest) -> Iterator[YuvFrame]:
    """The normalised source at display size, one frame after the other."""
    return _decoded(video) if is_read_independently(manifest) else _normalised(video, manifest)


def _decoded(video: Path) -> Iterator[YuvFrame]:
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for picture in container.decode(stream):
            bit_depth = _PIXEL_FORMATS.get(picture.format.name)
            if bit_depth is None:
                raise DemoError(f"{video} is {picture.format.name}, which the encoder should have normalised.")
            y, u, v = (_samples(picture, number, bit_depth) for number in range(3))
            yield YuvFrame(y=y, u=u, v=v, time=Fraction(0), bit_depth=bit_depth)


def _samples(picture: av.VideoFrame, number: int, bit_depth: BitDepth) -> Plane:
    plane, kind = picture.planes[number], np.dtype(sample_type(bit_depth))
    rows = np.frombuffer(memoryview(plane), kind).reshape(plane.height, plane.line_size // kind.itemsize)
    samples: Plane = rows[:, : plane.width].copy()
    return samples


def _normalised(video: Path, manifest: Manifest) -> Iterator[YuvFrame]:
    picture = manifest.picture
    limits = SourceLimits.model_validate(load_settings(), from_attributes=True)
    ffmpeg = FFmpeg()
    info = probe_source(video, limits=limits, report=lambda *_: None, program=ffmpeg)
    for frame in read_source_frames(video, info, picture, program=ffmpeg):
        yield frame.cropped(width=picture.display_width, height=picture.display_height)
