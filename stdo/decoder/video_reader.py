"""Open the low-resolution stream of a bundle with PyAV, and find a frame in it (docs/FORMAT.md, section 5)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from stdo.errors import FrameRangeError, VideoError

# A bundle may come from anyone: nothing but a local MP4 file with one of the format's three codecs is ever opened.
_OPEN_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2",
    "codec_whitelist": "h264,hevc,libdav1d,av1,aac,opus,mp3,flac,ac3,eac3,alac",
}


@dataclass(frozen=True, kw_only=True)
class StreamInfo:
    """What the low-resolution file says about its streams."""

    width: int
    height: int
    time_base: Fraction
    """Every frame's time is a whole multiple of it, in seconds."""
    has_audio: bool


def open_base_stream(path: Path) -> InputContainer:
    """Open a low-resolution stream. The caller closes it.

    Raises:
        VideoError: it can't be read, or has no video.
    """
    try:
        container = av.open(f"file:{path}", format="mp4", options=_OPEN_OPTIONS)
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{path.name} can't be opened as an MP4 video: {error}") from error
    if not container.streams.video:
        container.close()
        raise VideoError(f"{path.name} has no video stream in H.264, HEVC or AV1.")
    return container


def read_stream_info(path: Path) -> StreamInfo:
    """The size and time base of a low-resolution stream."""
    with open_base_stream(path) as container:
        stream = container.streams.video[0]
        return StreamInfo(
            width=stream.width,
            height=stream.height,
            time_base=_time_base(stream),
            has_audio=bool(container.streams.audio),
        )


def seek_frame(container: InputContainer, stream: VideoStream, first_frame: int) -> int:
    """Go to the key frame from which frame `first_frame` can be decoded; the timestamp of that frame."""
    packets = [
        (packet.pts, packet.dts, packet.is_keyframe)
        for packet in container.demux(stream)
        if packet.pts is not None and not packet.is_discard
    ]
    timestamps = sorted(pts for pts, _, _ in packets)
    if first_frame >= len(timestamps):
        raise FrameRangeError(f"Frame {first_frame} is beyond the video's {len(timestamps)} frames.")
    first_pts = timestamps[first_frame]
    # A container seeks by decoding time, which is earlier than presentation; the key frame's own one hits it exactly.
    starts = [dts for pts, dts, is_key in packets if is_key and dts is not None and pts <= first_pts]
    if not starts:
        raise VideoError(f"The video has no key frame from which frame {first_frame} can be decoded.")
    container.seek(max(starts), stream=stream, backward=True)
    return first_pts


def _time_base(stream: VideoStream) -> Fraction:
    if stream.time_base is None:
        raise VideoError("The video stream states no time base.")
    return stream.time_base
