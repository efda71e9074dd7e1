"""Write restored frames: an MP4 with the bundle's sound, PNG files, or raw planes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream

from stdo.bundle.bundle import Bundle
from stdo.bundle.codecs import BitDepth
from stdo.bundle.h273 import colour_codes
from stdo.bundle.manifest import Picture
from stdo.decoder.frames import Plane, YuvFrame
from stdo.decoder.png import png_bytes
from stdo.decoder.restored_frame import RestoredFrame
from stdo.decoder.sound import SoundCopy
from stdo.errors import VideoError


@dataclass(frozen=True, kw_only=True)
class _Encoder:
    name: str
    pixel_formats: Mapping[BitDepth, str]
    options: Mapping[str, str]
    lossless: Mapping[str, str]
    """In place of a constant rate factor of 0."""
    codec_tag: str


_X264 = _Encoder(
    name="libx264",
    pixel_formats={8: "yuv420p", 10: "yuv420p10le"},
    options={"preset": "medium"},
    lossless={"qp": "0"},
    codec_tag="avc1",
)
# H.264 of 10 bits is played by hardly anything but FFmpeg; HEVC of 10 bits by most that plays 10 bits at all.
_X265 = _Encoder(
    name="libx265",
    pixel_formats={10: "yuv420p10le"},
    # With B-frames x265 leaves decoding times of videos of one or two frames undefined.
    options={"preset": "fast", "x265-params": "log-level=error:bframes=0"},
    lossless={"x265-params": "log-level=error:bframes=0:lossless=1"},
    codec_tag="hvc1",
)
_FRAME_DURATION_FLAG = 1 << 8
"""FFmpeg's AV_CODEC_FLAG_FRAME_DURATION: packets get the durations of their frames."""
_SMALLEST_SIZE_OF_X265 = 64
"""Its largest coding unit. On some smaller pictures it writes outside of its memory (measured: 48x32, x265 4.1)."""


def write_mp4(
    frames: Iterable[RestoredFrame],
    path: Path,
    *,
    bundle: Bundle,
    part: tuple[int, int] | None = None,
    crf: int = 16,
) -> int:
    """Encode restored frames, each at its own time, and copy the sound of the base stream to them.

    The video is H.264 at 8 bits and HEVC at 10 (H.264 where the picture is tiny). Either has even sizes only: an odd
    picture is extended by one column or row, by edge replication. The file appears under its name when it is complete.

    Args:
        frames: in order, such as from `stdo.reconstruct`.
        bundle: where they come from.
        part: of a part of the video, the number of its first frame and that of the first one no longer in it. The file
            then starts with the first of them, and so does its sound.
        crf: constant rate factor of the encoder, 0 (lossless) to 51; lower is better and larger.

    Returns:
        The number of frames written.

    Raises:
        VideoError: the file can't be written, or there is no frame.
    """
    picture, time_base = bundle.manifest.picture, bundle.manifest.base_stream.time_base.fraction
    with _appearing_when_complete(path) as unfinished, ExitStack() as stack:
        options = {"movie_timescale": str(time_base.denominator)}  # Else the first frame's time is rounded to 1 ms.
        output = stack.enter_context(av.open(f"file:{unfinished}", "w", format="mp4", options=options))
        video = _add_video(output, picture, time_base, crf)
        sound = stack.enter_context(SoundCopy(output, bundle, part))
        count, origin, end, lasts = 0, Fraction(0), Fraction(0), time_base
        for frame, end in _with_ends(frames, bundle, part):
            if not count and part is not None:
                origin = frame.time
                sound.skip_to(origin)
            lasts = max(time_base, end - frame.time)
            output.mux(video.encode(_encodable(frame.yuv, frame.time - origin, lasts, time_base)))
            sound.copy_until(frame.time)
            count += 1
        rest = video.encode(None)
        if rest:
            # An MP4 track ends with its last packet, which is not that of the last frame where B-frames are reordered.
            rest[-1].duration = round(lasts / time_base)
        output.mux(rest)
        if not count:
            raise VideoError("There is no frame to write.")
        sound.copy_until(end if part is not None else None)
    return count


def write_png_frames(frames: Iterable[RestoredFrame], folder: Path, *, first_number: int = 0) -> int:
    """Write each frame's R'G'B' to `folder`/000000.png and so on, numbered from `first_number`; how many there were.

    The files have 8 bits a sample, or 16 where the picture has 10.

    Raises:
        VideoError: the folder can't be written to.
    """
    count = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for count, frame in enumerate(frames, start=1):
            (folder / f"{first_number + count - 1:06d}.png").write_bytes(png_bytes(frame.rgb, frame.bit_depth))
    except OSError as error:
        raise VideoError(f"Frames can't be written to {folder}: {error.strerror}. Choose another folder.") from error
    return count


def write_raw_yuv(frames: Iterable[RestoredFrame], stream: BinaryIO) -> int:
    """Write the planes Y, U, V of each frame, 4:2:0 without padding; how many there were.

    That is FFmpeg's yuv420p at 8 bits, and yuv420p10le at 10: two bytes a sample, the lower one first.
    """
    count = 0
    for count, frame in enumerate(frames, start=1):  # noqa: B007 - the count is the result.
        for plane in (frame.yuv.y, frame.yuv.u, frame.yuv.v):
            stream.write(_little_endian(plane).data)
    return count


def _little_endian(plane: Plane) -> Plane:
    return np.ascontiguousarray(plane, dtype=plane.dtype.newbyteorder("<"))


def _add_video(output: OutputContainer, picture: Picture, time_base: Fraction, crf: int) -> VideoStream:
    encoder = _encoder(picture)
    stream = output.add_stream(encoder.name, rate=_encoding_rate(picture))
    assert isinstance(stream, VideoStream)
    stream.width = picture.display_width + picture.display_width % 2
    stream.height = picture.display_height + picture.display_height % 2
    stream.pix_fmt = encoder.pixel_formats[picture.bit_depth]
    stream.time_base = time_base
    context, codes = stream.codec_context, colour_codes(picture.colour)
    context.codec_tag = encoder.codec_tag
    context.flags |= _FRAME_DURATION_FLAG
    context.time_base = time_base
    context.color_range = ColorRange.JPEG if codes.is_full_range else ColorRange.MPEG
    context.colorspace, context.color_primaries, context.color_trc = codes.matrix, codes.primaries, codes.transfer
    context.options = {**encoder.options, **({"crf": str(crf)} if crf else encoder.lossless)}
    if picture.variable_frame_rate:
        # Decoding times of B-frames are made from other frames' times: the track would end before its last frame.
        context.options = {**context.options, "bf": "0"}
    return stream


def _encoder(picture: Picture) -> _Encoder:
    is_tiny = min(picture.display_width, picture.display_height) < _SMALLEST_SIZE_OF_X265
    return _X264 if picture.bit_depth == 8 or is_tiny else _X265


def _encodable(frame: YuvFrame, time: Fraction, lasts: Fraction, time_base: Fraction) -> av.VideoFrame:
    height, width = frame.y.shape
    luma = np.pad(frame.y, ((0, height % 2), (0, width % 2)), mode="edge")
    samples = np.concatenate([plane.reshape(-1) for plane in (luma, frame.u, frame.v)])
    pixel_format = _X264.pixel_formats[frame.bit_depth]
    encodable = av.VideoFrame.from_ndarray(samples.reshape(-1, luma.shape[1]), format=pixel_format)
    encodable.pts = round(time / time_base)
    encodable.time_base = time_base
    encodable.duration = max(1, round(lasts / time_base))
    return encodable


def _with_ends(
    frames: Iterable[RestoredFrame], bundle: Bundle, part: tuple[int, int] | None
) -> Iterator[tuple[RestoredFrame, Fraction]]:
    """Each frame with the time, in seconds, until which it is shown (docs/FORMAT.md, section 5.3)."""
    before: RestoredFrame | None = None
    for frame in frames:
        if before is not None:
            yield before, frame.time
        before = frame
    if before is None:
        return
    picture = bundle.manifest.picture
    if part is not None and part[1] < picture.frame_count:
        # The next frame is not restored: what it would tell is taken to be the average.
        yield before, before.time + 1 / picture.average_frame_rate.fraction
    else:
        start = bundle.segments[0].time_ticks * bundle.manifest.base_stream.time_base.fraction
        yield before, start + Fraction(picture.duration_seconds)


def _encoding_rate(picture: Picture) -> Fraction:
    """What the encoder shares out its bits by. A manifest may state rates that FFmpeg can't hold."""
    return min(max(picture.average_frame_rate.fraction, Fraction(1)), Fraction(1000)).limit_denominator(1001)


@contextmanager
def _appearing_when_complete(path: Path) -> Iterator[Path]:
    unfinished = path.with_name(f".{path.name}.part")
    try:
        yield unfinished
        unfinished.replace(path)
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{path} can't be written: {error.strerror}. Choose another place.") from error
    finally:
        unfinished.unlink(missing_ok=True)
