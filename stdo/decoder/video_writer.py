"""Write restored frames: an MP4 with the bundle's sound, PNG files, or raw planes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream
from PIL import Image as PillowImage

from stdo.bundle.manifest import Picture
from stdo.decoder.colour import colour_codes
from stdo.decoder.frames import YuvFrame
from stdo.decoder.restored_frame import RestoredFrame
from stdo.decoder.video_reader import open_base_stream, read_stream_info
from stdo.errors import VideoError


def write_mp4(
    frames: Iterable[RestoredFrame],
    path: Path,
    *,
    picture: Picture,
    base_stream: Path,
    crf: int = 16,
    part: bool = False,
) -> int:
    """Encode restored frames as H.264, each at its own time, and copy the sound of the low-resolution stream to them.

    H.264 in 4:2:0 has even sizes only: an odd picture is extended by one column or row, by edge replication.
    The file appears under its name when it is complete.

    Args:
        frames: in order, such as from `stdo.reconstruct`.
        picture: of the bundle's manifest.
        base_stream: the bundle's low-resolution stream.
        crf: constant rate factor of the encoder, 0 (lossless) to 51; lower is better and larger.
        part: the frames are a part of the video. The file then starts with the first of them, and so does its sound.

    Returns:
        The number of frames written.

    Raises:
        VideoError: the file can't be written, or there is no frame.
    """
    with _appearing_when_complete(path) as unfinished, ExitStack() as stack:
        time_base = read_stream_info(base_stream).time_base
        options = {"movie_timescale": str(time_base.denominator)}  # Else the first frame's time is rounded to 1 ms.
        output = stack.enter_context(av.open(f"file:{unfinished}", "w", format="mp4", options=options))
        video = _add_video(output, picture, time_base, crf)
        sound = _Sound(output, base_stream, stack)
        count, origin, time = 0, Fraction(0), Fraction(0)
        for frame in frames:
            time = frame.time
            if not count and part:
                origin = time
                sound.skip_to(origin)
            output.mux(video.encode(_encodable(frame.yuv, time - origin, time_base, picture)))
            sound.copy_until(time)
            count += 1
        output.mux(video.encode(None))
        if not count:
            raise VideoError("There is no frame to write.")
        sound.copy_until(time + 1 / _frame_rate(picture) if part else None)
    return count


def write_png_frames(frames: Iterable[RestoredFrame], folder: Path, *, first_number: int = 0) -> int:
    """Write each frame's R'G'B' to `folder`/000000.png and so on, numbered from `first_number`; how many there were.

    Raises:
        VideoError: the folder can't be written to.
    """
    count = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for count, frame in enumerate(frames, start=1):
            # Deflating harder takes several times as long as restoring the frame, for a tenth of the bytes.
            PillowImage.fromarray(frame.rgb).save(folder / f"{first_number + count - 1:06d}.png", compress_level=1)
    except OSError as error:
        raise VideoError(f"Frames can't be written to {folder}: {error.strerror}. Choose another folder.") from error
    return count


def write_raw_yuv(frames: Iterable[RestoredFrame], stream: BinaryIO) -> int:
    """Write the planes Y, U, V of each frame, 8-bit 4:2:0 without padding (FFmpeg's yuv420p); how many there were."""
    count = 0
    for count, frame in enumerate(frames, start=1):  # noqa: B007 - the count is the result.
        for plane in (frame.yuv.y, frame.yuv.u, frame.yuv.v):
            stream.write(np.ascontiguousarray(plane).data)
    return count


class _Sound:
    """Copies the sound of the low-resolution stream, a little at a time, so that it lies beside the video."""

    def __init__(self, output: OutputContainer, base_stream: Path, stack: ExitStack) -> None:
        source = stack.enter_context(open_base_stream(base_stream))
        self._output = output
        self._origin = Fraction(0)
        self._packets: Iterator[Packet[AudioStream]] = iter(())
        self._next: Packet[AudioStream] | None = None
        if source.streams.audio:
            self._stream: AudioStream = output.add_stream_from_template(source.streams.audio[0])
            self._packets = (packet for packet in source.demux(source.streams.audio[0]) if packet.pts is not None)
            self._next = next(self._packets, None)

    def skip_to(self, time: Fraction) -> None:
        """Leave out what is before `time`, which becomes 0."""
        self._origin = time
        while self._next is not None and _time(self._next) < time:
            self._next = next(self._packets, None)

    def copy_until(self, time: Fraction | None) -> None:
        """Copy the packets that start before `time`, or all that are left."""
        while self._next is not None and (time is None or _time(self._next) < time):
            packet, self._next = self._next, next(self._packets, None)
            assert packet.time_base is not None
            assert packet.pts is not None
            shift = round(self._origin / packet.time_base)
            packet.pts -= shift
            packet.dts = packet.pts  # Sound is in order of presentation.
            packet.stream = self._stream
            self._output.mux(packet)


def _time(packet: Packet[AudioStream]) -> Fraction:
    assert packet.pts is not None
    assert packet.time_base is not None
    return packet.pts * packet.time_base


def _add_video(output: OutputContainer, picture: Picture, time_base: Fraction, crf: int) -> VideoStream:
    stream = output.add_stream("libx264", rate=_frame_rate(picture))
    stream.width = picture.display_width + picture.display_width % 2
    stream.height = picture.display_height + picture.display_height % 2
    stream.pix_fmt = "yuv420p"
    stream.time_base = time_base
    context, codes = stream.codec_context, colour_codes(picture.colour)
    context.time_base = time_base
    context.color_range = ColorRange.JPEG if codes.full_range else ColorRange.MPEG
    context.colorspace, context.color_primaries, context.color_trc = codes.matrix, codes.primaries, codes.transfer
    context.options = {"crf": str(crf), "preset": "medium"}
    if picture.variable_frame_rate:
        # Decoding times of B-frames are made from other frames' times: the track would end before its last frame.
        context.options = {**context.options, "bf": "0"}
    return stream


def _encodable(frame: YuvFrame, time: Fraction, time_base: Fraction, picture: Picture) -> av.VideoFrame:
    height, width = frame.y.shape
    luma = np.pad(frame.y, ((0, height % 2), (0, width % 2)), mode="edge")
    samples = np.concatenate([plane.reshape(-1) for plane in (luma, frame.u, frame.v)])
    encodable = av.VideoFrame.from_ndarray(samples.reshape(-1, luma.shape[1]), format="yuv420p")
    encodable.pts = round(time / time_base)
    encodable.time_base = time_base
    encodable.duration = max(1, round(1 / (_frame_rate(picture) * time_base)))  # Counts for the last frame only.
    return encodable


def _frame_rate(picture: Picture) -> Fraction:
    return Fraction(picture.average_frame_rate.numerator, picture.average_frame_rate.denominator)


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
