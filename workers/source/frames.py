"""The source's frames as every stage sees them: normalised, and extended to the canvas.

The canvas is `scale` times the base frame; what it exceeds the display size by repeats the picture's right
column and bottom row (docs/FORMAT.md). `canvas_stream` is the one definition of it, for the encoder of the base stream
and for the stages that compare against the source.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np

from stdo.bundle.codecs import BitDepth
from stdo.bundle.geometry import sample_type
from stdo.bundle.manifest import Picture
from stdo.decoder.frames import Plane, YuvFrame
from workers.errors import FrameMismatchError
from workers.ffmpeg.program import FFmpeg, apply_filters, decoder_options, demuxer_options, file_url
from workers.source.colour import PIXEL_FORMATS, colour_parameters
from workers.source.probe import SourceInfo


def read_source_frames(source: Path, info: SourceInfo, picture: Picture, *, program: FFmpeg) -> Iterator[YuvFrame]:
    """Every frame of the source at the picture's depth and at canvas size, (scale * base_height, scale * base_width),
    one in memory at a time.

    Leaving the iteration early ends the decoder.

    Raises:
        FrameMismatchError: the video has not as many frames as the probe counted.
        FFmpegFailedError, FFmpegTimedOutError: from the decoder.
    """
    width, height = picture.scale * picture.base_width, picture.scale * picture.base_height
    pipe = ffmpeg.output(
        canvas_stream(open_input(source, info), info, picture),
        "pipe:1",
        format="rawvideo",
        pix_fmt=PIXEL_FORMATS[picture.bit_depth],
        fps_mode="passthrough",
    )
    kind = np.dtype(sample_type(picture.bit_depth))
    times = info.frame_times()
    frame_count = 0
    for block in program.read_blocks(pipe, width * height * 3 // 2 * kind.itemsize):
        frame_count += 1
        time = next(times, None)
        if time is not None:
            samples = np.frombuffer(block, kind)
            yield _frame(samples, width=width, height=height, time=time, bit_depth=picture.bit_depth)
    if frame_count != info.source.frame_count:
        raise FrameMismatchError(
            f"The video decoded to {info.source.frame_count} frames at first and to {frame_count} now. It may be "
            "damaged: encode it anew with another program, then upload it again."
        )


def open_input(source: Path, info: SourceInfo) -> Any:
    """The source as an ffmpeg-python input, in which nothing is left for ffmpeg to decide."""
    size = decoder_options(width=info.source.coded_width, height=info.source.coded_height)
    return ffmpeg.input(
        file_url(source),
        **demuxer_options(),
        max_pixels=size["max_pixels"],
        noautorotate=None,
        apply_cropping="codec",
    )


def canvas_stream(source: Any, info: SourceInfo, picture: Picture) -> Any:
    """The video stream of an input from `open_input`, normalised and extended to the canvas."""
    form = info.form(picture)
    video = apply_filters(source[str(info.facts.video_stream_index)], form.filters)
    width, height = picture.scale * picture.base_width, picture.scale * picture.base_height
    if (width, height) == (picture.display_width, picture.display_height):
        return video
    # Plane by plane, since `pad` cuts a 4:2:0 picture down to an even size first.
    planes = video.filter_multi_output("extractplanes", planes="y+u+v")
    luma = _extended(planes.stream(0), width - picture.display_width, height - picture.display_height)
    chroma_margins = width // 2 - ceil(picture.display_width / 2), height // 2 - ceil(picture.display_height / 2)
    chroma = [_extended(planes.stream(number), *chroma_margins) for number in (1, 2)]
    merged = ffmpeg.filter([luma, *chroma], "mergeplanes", format=PIXEL_FORMATS[form.bit_depth], map1s=1, map2s=2)
    # Taking the planes apart loses what they mean.
    return apply_filters(merged, [colour_parameters(form.colour)])


def _extended(plane: Any, right: int, bottom: int) -> Any:
    """A plane with its right column and its bottom row repeated."""
    padded = plane.filter("pad", w=f"iw+{right}", h=f"ih+{bottom}")
    return padded.filter("fillborders", right=right, bottom=bottom, mode="smear")


def _frame(samples: Plane, *, width: int, height: int, time: Fraction, bit_depth: BitDepth) -> YuvFrame:
    y, u, v = np.split(samples, (width * height, width * height * 5 // 4))
    chroma_shape = height // 2, width // 2
    return YuvFrame(
        y=y.reshape(height, width),
        u=u.reshape(chroma_shape),
        v=v.reshape(chroma_shape),
        time=time,
        bit_depth=bit_depth,
    )
