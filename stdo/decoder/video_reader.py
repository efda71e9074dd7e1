"""Read a bundle's base stream with PyAV: the whole file, or one segment from memory (docs/FORMAT.md, section 5)."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import av
from av.container import InputContainer

from stdo.bundle.codecs import CODECS, BitDepth
from stdo.bundle.geometry import sample_type
from stdo.decoder.frames import Plane, YuvFrame
from stdo.errors import VideoError

_SOUND_CODECS = ("aac", "opus", "mp3", "flac", "ac3", "eac3", "alac")
_DECODERS = tuple(name for codec in CODECS.values() for name in codec.decoders)
# A bundle may come from anyone: nothing but an MP4 file, local or in memory, with a codec of the format is ever opened.
_OPEN_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2",
    "codec_whitelist": ",".join((*_DECODERS, *_SOUND_CODECS)),
}
_DEPTH_OF_PIXEL_FORMAT: Mapping[str, BitDepth] = {"yuv420p": 8, "yuvj420p": 8, "yuv420p10le": 10}


def open_base_stream(source: Path | io.IOBase, *, name: str) -> InputContainer:
    """Open a base stream, or a part of it that begins with its header. The caller closes it.

    Args:
        source: a local file, or a stream of bytes.
        name: what errors call it.

    Raises:
        VideoError: it can't be read, or has no video.
    """
    opened = f"file:{source}" if isinstance(source, Path) else source
    try:
        container: InputContainer = av.open(opened, "r", format="mp4", options=_OPEN_OPTIONS)
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{name} can't be opened as an MP4 video: {error}") from error
    if not container.streams.video:
        container.close()
        titles = ", ".join(codec.title for codec in CODECS.values())
        raise VideoError(f"{name} has no video stream in one of {titles}.")
    return container


def decode_video(path: Path) -> Iterator[YuvFrame]:
    """The frames of a base stream in order of presentation.

    Raises:
        VideoError: the stream can't be decoded, or is not 4:2:0 of 8 or 10 bits.
    """
    with open_base_stream(path, name=path.name) as container:
        yield from _decoded(container, name=path.name)


def decode_segment(header: bytes, segment: bytes, *, name: str) -> Iterator[YuvFrame]:
    """The frames of one segment of a base stream, in order of presentation.

    Args:
        header: the base stream's bytes before its first segment.
        segment: the bytes of one segment.
        name: what errors call it.

    Raises:
        VideoError: as `decode_video`.
    """
    with open_base_stream(io.BytesIO(header + segment), name=name) as container:
        yield from _decoded(container, name=name)


def _decoded(container: InputContainer, *, name: str) -> Iterator[YuvFrame]:
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    try:
        # The end of the file flushes the decoder: PyAV ends its packets with an empty one.
        for picture in container.decode(stream):
            if picture.pts is None:
                raise VideoError(f"{name} has a frame without a timestamp.")
            yield _planes(picture, name)
    except av.FFmpegError as error:
        raise VideoError(
            f"{name} can't be decoded: it is cut short or damaged ({error.strerror}). Make the bundle anew."
        ) from error


def _planes(picture: av.VideoFrame, name: str) -> YuvFrame:
    bit_depth = _DEPTH_OF_PIXEL_FORMAT.get(picture.format.name)
    if bit_depth is None:
        raise VideoError(
            f"{name} is {picture.format.name}; a base stream is 4:2:0 of 8 or 10 bits (yuv420p, yuv420p10le)."
        )
    if picture.width % 2 or picture.height % 2:
        raise VideoError(f"{name} is {picture.width}x{picture.height}; a base stream has even sizes.")
    assert picture.pts is not None
    assert picture.time_base is not None
    width, height = picture.width, picture.height
    # Y, then U, then V, without row padding.
    samples: Plane = picture.to_ndarray().reshape(-1).view(sample_type(bit_depth))
    chroma = samples[height * width :].reshape(2, height // 2, width // 2)
    return YuvFrame(
        y=samples[: height * width].reshape(height, width),
        u=chroma[0],
        v=chroma[1],
        time=picture.pts * picture.time_base,
        bit_depth=bit_depth,
    )
