"""Open an uploaded file without trusting it, and read all of it once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from workers.errors import (
    CorruptVideoError,
    EncryptedVideoError,
    NoFramesError,
    NotAVideoError,
    NoVideoStreamError,
    TooManyStreamsError,
    UnsupportedCodecError,
    VideoTooLargeError,
)
from workers.ffmpeg.program import AUDIO_DECODERS, VIDEO_DECODERS, decoder_options, demuxer_options, file_url
from workers.progress import Progress
from workers.source.scene_changes import FrameNumbers
from workers.source.source_counts import FrameFormat, SourceCounts, SourceLimits, too_long
from workers.source.timeline import ReadTimes

_MICROSECONDS = 1_000_000
_REPORT_EVERY_FRAMES = 25
_REPAIR = "Upload the file again if it was cut short, or encode it anew with a program that repairs it."


@dataclass(frozen=True, kw_only=True)
class ReadSource:
    """What reading the whole file has shown."""

    container: str
    video_codec: str
    video_stream_index: int
    sample_aspect_ratio: Fraction
    frame_format: FrameFormat
    frame_count: int
    interlaced_frame_count: int
    damaged_frame_count: int
    times: ReadTimes
    scene_changes: FrameNumbers
    audio_stream_index: int | None
    audio_codec: str | None
    unread_streams: tuple[str, ...]
    """The kinds of the streams that are left out, such as `subtitle`."""


def read_source(path: Path, limits: SourceLimits, report: Progress) -> ReadSource:
    """Decode every frame of the file's best video stream.

    Raises:
        RefusedSourceError: one of its subclasses says why the file can't be encoded.
    """
    with _opened(path) as container:
        if len(container.streams) > limits.max_streams:
            raise TooManyStreamsError(
                f"The file has {len(container.streams)} streams, and this service reads at most {limits.max_streams}. "
                "Upload one with a single picture and a single sound track."
            )
        video = _video_stream(container)
        _check_size_in_header(container, video, limits)
        audio = _audio_stream(container)
        counts = SourceCounts(
            tick_seconds=Fraction(video.time_base or Fraction(1, _MICROSECONDS)),
            limits=limits,
            counts_packets=container.format.name == "avi",
        )
        _read_all(container, video, audio, counts, report)
        if counts.first is None:
            raise NoFramesError("The file has a video stream, but not a single frame of it can be decoded.")
        has_sound = audio is not None and counts.audio_packet_count > 0
        return ReadSource(
            container=_container_name(container),
            video_codec=video.codec_context.codec.canonical_name,
            video_stream_index=video.index,
            sample_aspect_ratio=Fraction(video.sample_aspect_ratio or 1),
            frame_format=counts.first,
            frame_count=counts.frame_count,
            interlaced_frame_count=counts.interlaced_frame_count,
            damaged_frame_count=counts.damaged_frame_count,
            times=_times(container, video, counts, has_sound=has_sound),
            scene_changes=counts.scenes.changes(),
            audio_stream_index=audio.index if audio is not None and has_sound else None,
            audio_codec=audio.codec_context.codec.canonical_name if audio is not None and has_sound else None,
            unread_streams=tuple(stream.type for stream in container.streams if stream not in (video, audio)),
        )


@contextmanager
def _opened(path: Path) -> Iterator[InputContainer]:
    # Trouble of our own, such as a missing file, is not blamed on the video.
    path.open("rb").close()
    try:
        container = av.open(file_url(path), options=demuxer_options(), metadata_errors="replace")
    except av.FFmpegError as error:
        raise NotAVideoError(
            "The file can't be opened as MP4, MOV, Matroska, WebM, MPEG-TS, MPEG-PS or AVI. Upload a complete video in "
            "one of these containers."
        ) from error
    with container:
        yield container


def _video_stream(container: InputContainer) -> VideoStream:
    candidates = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not candidates:
        raise NoVideoStreamError("The file holds no moving picture, only sound or other data. Upload a video.")
    # The disposition "default" marks the stream that players show.
    stream = max(candidates, key=lambda each: (bool(each.disposition & Disposition.default), -each.index))
    context = stream.codec_context
    if context is None or context.codec.name not in VIDEO_DECODERS:
        name = "of an unknown kind" if context is None else context.codec.name
        raise UnsupportedCodecError(
            f"The video's codec is {name}. Encode it anew with one that this service reads: H.264, HEVC, AV1, VP8, "
            "VP9, MPEG-1, MPEG-2, MPEG-4, ProRes, DNxHD, DV, MJPEG, FFV1, HuffYUV, UT Video or uncompressed."
        )
    return stream


def _audio_stream(container: InputContainer) -> AudioStream | None:
    """The sound that is kept; none where its codec is not supported."""
    best = container.streams.best("audio")
    if not isinstance(best, AudioStream) or best.codec_context is None:
        return None
    return best if best.codec_context.codec.name in AUDIO_DECODERS else None


def _check_size_in_header(container: InputContainer, video: VideoStream, limits: SourceLimits) -> None:
    """Refuse before anything is decoded. Headers lie, so that decoding checks both again."""
    width, height = video.codec_context.width, video.codec_context.height
    if width * height > limits.max_pixels_per_frame:
        raise VideoTooLargeError(
            f"The picture is {width}x{height}, and this service takes at most {limits.max_pixels_per_frame} pixels. "
            "Scale it down first."
        )
    if container.duration is not None and container.duration / _MICROSECONDS > limits.max_duration_seconds:
        raise too_long(container.duration / _MICROSECONDS, limits)


def _read_all(
    container: InputContainer, video: VideoStream, audio: AudioStream | None, counts: SourceCounts, report: Progress
) -> None:
    context = video.codec_context
    context.options = decoder_options(width=context.width, height=context.height)
    context.thread_type = "AUTO"
    expected = video.frames or int((container.duration or 0) / _MICROSECONDS * float(video.average_rate or 0))
    decodable = False
    try:
        for packet in container.demux(*(stream for stream in (video, audio) if stream is not None)):
            if packet.stream is not video:
                counts.audio_packet_count += packet.size > 0
                continue
            _check_whole(packet, container)
            decodable = decodable or packet.is_keyframe
            for frame in _decoded(cast("Packet[VideoStream]", packet), decodable=decodable):
                counts.add(frame)
                if counts.frame_count % _REPORT_EVERY_FRAMES == 0:
                    report("probe", counts.frame_count, max(expected, counts.frame_count), "frames")
    except av.FFmpegError as error:
        raise CorruptVideoError(
            f"Decoding stopped with an error after {counts.frame_count} frames ({error.strerror}). {_REPAIR}"
        ) from error
    report("probe", counts.frame_count, counts.frame_count, "frames")


def _check_whole(packet: Packet[Stream], container: InputContainer) -> None:
    """Broadcasts lose packets now and then; in a file, a packet that is not whole means that the end is missing."""
    if packet.is_corrupt and container.format.name != "mpegts":
        raise CorruptVideoError(f"The file ends within a frame, or was damaged. {_REPAIR}")


def _decoded(packet: Packet[VideoStream], *, decodable: bool) -> list[VideoFrame]:
    """The frames of a packet. Errors before the first key frame are those of a recording that starts in the middle."""
    if packet.has_sidedata("encryption_info"):
        raise EncryptedVideoError("The video is encrypted (Common Encryption). Upload it without protection.")
    try:
        return packet.decode()
    except av.InvalidDataError:
        if decodable:
            raise
        return []


def _times(container: InputContainer, video: VideoStream, counts: SourceCounts, *, has_sound: bool) -> ReadTimes:
    """The timestamps, and what the file says about them."""
    tick_seconds = counts.tick_seconds
    first_seconds = counts.ticks[0] * tick_seconds if counts.ticks else Fraction(0)
    start_seconds = Fraction(container.start_time or 0, _MICROSECONDS)
    rates = (video.average_rate, video.guessed_rate)
    return ReadTimes(
        ticks=np.array(counts.ticks, np.int64) if counts.has_all_ticks else None,
        tick_seconds=tick_seconds,
        # Time 0 is where the first stream starts: a picture that starts later than the sound stays late. Without sound
        # it is the first frame, and in AVI picture and sound always start together.
        start_seconds=start_seconds if has_sound and not counts.counts_packets else first_seconds,
        declared_rates=tuple(Fraction(rate) for rate in rates if rate),
        last_frame_ticks=counts.last_frame_ticks,
        may_be_spliced=container.format.name == "mpegts",
    )


def _container_name(container: InputContainer) -> str:
    """One short name for each of FFmpeg's families."""
    if container.format.name.startswith("mov,"):
        return "mov" if container.metadata.get("major_brand", "").startswith("qt") else "mp4"
    return container.format.name.split(",")[0]
