"""The base stream, as every player and every later stage will see it: downscaled, cut into segments, encoded."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np
from pydantic import BaseModel, ConfigDict

from core.encoding_settings import BaseStreamSettings, EncodingSettings
from stdo.bundle.boxes import StreamRanges, read_stream_ranges
from stdo.bundle.codecs import BitDepth, CodecName
from stdo.bundle.manifest import Picture, Rational, StreamHeader
from stdo.bundle.playlist import media_playlist
from stdo.bundle.segments import ByteRange, Segment
from workers.base_stream.encoders import EncoderInput, base_bit_depth, check_size, encoder_options
from workers.base_stream.inspect import check_packets, stream_mime_type
from workers.errors import FrameMismatchError
from workers.ffmpeg.program import FFmpeg, apply_filters, file_url
from workers.progress import Progress
from workers.source.colour import EXACT_SCALING, PIXEL_FORMATS, colour_parameters
from workers.source.frames import canvas_stream, open_input
from workers.source.probe import SourceInfo
from workers.work_folder import WorkFolder

_FINEST_TIMESCALE = 1_000_000
_COARSEST_TIMESCALE = 1_000
_MICROSECONDS = 1_000_000


class EncodedSegment(BaseModel):
    """Where a segment lies in the base stream."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first_frame: int
    time_ticks: int
    offset: int
    byte_count: int
    sha256: str


class EncodedBaseStream(BaseModel):
    """The base stream: fragmented MP4, its packets checked against the source's frames."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    codec: CodecName
    bit_depth: BitDepth
    mime_type: str
    time_base: Rational
    """Seconds a tick of the video track."""
    header: StreamHeader
    segments: tuple[EncodedSegment, ...]
    lossless: bool
    audio_codec: str | None
    ffmpeg_version: str
    """Of the program that encoded it: the bundle may be finished on another machine."""


def encode_base_stream(
    source: Path, info: SourceInfo, settings: EncodingSettings, work: Path, report: Progress, *, program: FFmpeg
) -> EncodedBaseStream:
    """Downscale the source's canvas and encode it to base.mp4 in the folder `work`, with base.m3u8 beside it.

    Raises:
        FFmpegFailedError, FFmpegTimedOutError: from the encoder.
        FrameMismatchError: the stream has other frames, or other times, than the source.
        PictureTooSmallError: for the encoder that the settings name.
    """
    files, picture = WorkFolder(root=work), info.picture(settings)
    check_size(settings.base_stream, picture)
    starts = info.segment_starts(settings)
    ranges = _encode(source, info, settings, files, starts, report, program)
    timescale = _timescale(info)
    times = check_packets(files.base_stream, info, timescale=timescale, key_frames=starts)
    segments = tuple(
        EncodedSegment(
            first_frame=start,
            time_ticks=int(times[start]),
            offset=fragment.offset,
            byte_count=fragment.byte_count,
            sha256=fragment.sha256,
        )
        for start, fragment in zip(starts, ranges.fragments, strict=True)
    )
    encoded = EncodedBaseStream(
        codec=settings.base_stream.codec,
        bit_depth=base_bit_depth(settings.base_stream, picture),
        mime_type=stream_mime_type(files.base_stream, settings.base_stream.codec, picture.colour),
        time_base=Rational(numerator=1, denominator=timescale),
        header=StreamHeader(byte_count=ranges.header.byte_count, sha256=ranges.header.sha256),
        segments=segments,
        lossless=settings.base_stream.lossless,
        audio_codec=None if info.facts.audio_stream_index is None else "aac",
        ffmpeg_version=program.version(),
    )
    _write_playlist(files.playlist, encoded, picture)
    return encoded


def _encode(
    source: Path,
    info: SourceInfo,
    settings: EncodingSettings,
    files: WorkFolder,
    starts: Sequence[int],
    report: Progress,
    program: FFmpeg,
) -> StreamRanges:
    """Encode the base stream, so that it has one fragment for each segment.

    Sound that begins seconds late keeps FFmpeg from writing some of the fragments. All is then encoded once more, with
    silence before that sound.
    """
    frame_count = info.source.frame_count
    key_frames = files.root / "key_frames.txt"
    key_frames.write_text(_key_frame_times(info, starts))
    ranges = None
    for fills_gaps in (False, True):
        output = _output(source, info, settings, files.base_stream, starts, key_frames, fills_gaps=fills_gaps)
        program.run(output, lambda done: report("encode", min(done, frame_count), frame_count, "frames"))
        ranges = read_stream_ranges(files.base_stream)
        if len(ranges.fragments) == len(starts) or info.facts.audio_stream_index is None:
            break
    key_frames.unlink()
    assert ranges is not None
    if len(ranges.fragments) != len(starts):
        raise FrameMismatchError(
            f"The base stream has {len(ranges.fragments)} fragments where {len(starts)} segments were planned. Encode "
            "the source anew with regular timestamps, then upload it again."
        )
    report("encode", frame_count, frame_count, "frames")
    return ranges


def _key_frame_times(info: SourceInfo, starts: Sequence[int]) -> str:
    """The times at which FFmpeg shall put key frames, in seconds.

    FFmpeg makes a key frame of the first frame that is not before such a time, which it rounds to microseconds. A time
    half way between a segment's first frame and the frame before it leaves room for that rounding.
    """
    seconds = info.facts.tick.fraction
    ticks = info.frame_ticks
    middles = ((int(ticks[start - 1]) + int(ticks[start])) * seconds / 2 for start in starts if start)
    return ",".join(["0", *(f"{round(middle * _MICROSECONDS) / _MICROSECONDS:.6f}" for middle in middles)])


def _output(
    source: Path,
    info: SourceInfo,
    settings: EncodingSettings,
    out: Path,
    starts: Sequence[int],
    key_frames: Path,
    *,
    fills_gaps: bool,
) -> Any:
    """The whole ffmpeg command, as ffmpeg-python writes it down."""
    picture, stream = info.picture(settings), settings.base_stream
    bit_depth = base_bit_depth(stream, picture)
    opened = open_input(source, info)
    streams = [_downscaled(canvas_stream(opened, info, picture), picture, stream, bit_depth)]
    sound: dict[str, Any] = {}
    if info.facts.audio_stream_index is not None:
        streams.append(opened[str(info.facts.audio_stream_index)])
        sound = _sound_options(info, stream, fills_gaps=fills_gaps)
    timescale = _timescale(info)
    return ffmpeg.output(
        *streams,
        file_url(out),
        format="mp4",
        pix_fmt=PIXEL_FORMATS[bit_depth],
        **{"/force_key_frames": str(key_frames)},
        # Every frame with its own time, in ticks that hold it exactly. The movie's clock measures the edit lists.
        fps_mode="passthrough",
        enc_time_base=f"1:{timescale}",
        video_track_timescale=timescale,
        movie_timescale=timescale,
        # Waiting with the header lets it state where each track starts. Nothing follows the last fragment.
        movflags="frag_keyframe+delay_moov+default_base_moof+skip_trailer",
        # Nothing of the source's metadata, and no date or version: the same job gives the same bytes.
        map_metadata=-1,
        map_chapters=-1,
        fflags="+bitexact",
        **encoder_options(_encoder_input(info, stream, picture, starts)),
        **sound,
    ).overwrite_output()


def _encoder_input(
    info: SourceInfo, settings: BaseStreamSettings, picture: Picture, starts: Sequence[int]
) -> EncoderInput:
    mean_ticks, lead_ticks = _pace(info, _timescale(info))
    return EncoderInput(
        settings=settings,
        picture=picture,
        bit_depth=base_bit_depth(settings, picture),
        segment_frames=(starts[1] if len(starts) > 1 else info.source.frame_count) - starts[0],
        mean_frame_ticks=mean_ticks,
        largest_lead_ticks=lead_ticks,
    )


def _pace(info: SourceInfo, timescale: int) -> tuple[float, int]:
    """Mean distance of the frames, and how far one comes before its place at that distance; in ticks of the stream."""
    shown = info.frame_ticks * float(info.facts.tick.fraction * timescale)
    if len(shown) == 1:
        return 1.0, 0
    mean = float(shown[-1] - shown[0]) / (len(shown) - 1)
    leads = np.arange(len(shown)) * mean - shown
    return mean, ceil(max(0.0, float(leads.max())))


def _downscaled(canvas: Any, picture: Picture, settings: BaseStreamSettings, bit_depth: BitDepth) -> Any:
    """The canvas at the base stream's size and depth, each plane on its own, its corners on the corners of the canvas.

    So upscaling each plane in the same way, as players and this project's baselines do, shifts nothing.
    """
    if picture.scale == 1 and picture.bit_depth == bit_depth:
        return canvas
    # Full-range samples gain bits by a shift, as limited ones do: swscale stretches them if it knows their range.
    plain = canvas.filter("setparams", range="limited")
    scaled = plain.filter(
        "scale",
        w=picture.base_width,
        h=picture.base_height,
        flags=f"{settings.downscale}+{EXACT_SCALING}",
        sws_dither="none",
        in_chroma_loc="center",
        out_chroma_loc="center",
    ).filter("format", pix_fmts=PIXEL_FORMATS[bit_depth])
    return apply_filters(scaled, [colour_parameters(picture.colour)])


def _sound_options(info: SourceInfo, settings: BaseStreamSettings, *, fills_gaps: bool) -> dict[str, Any]:
    if info.source.audio_codec == "aac" and not fills_gaps:
        # Transport streams carry AAC with headers of its own, which MP4 has no place for.
        return {"acodec": "copy", "bsf:a": "aac_adtstoasc"}
    # The layouts that every AAC decoder knows.
    layouts = "aformat=channel_layouts=mono|stereo|5.1"
    return {
        "acodec": "aac",
        "audio_bitrate": f"{settings.audio_bitrate_kbps}k",
        "af": f"aresample=async=1:first_pts=0,{layouts}" if fills_gaps else layouts,
        "flags:a": "+bitexact",
    }


def _timescale(info: SourceInfo) -> int:
    """Ticks a second: the source's own, where an MP4 can have them."""
    ticks = info.facts.tick.denominator
    if ticks > _FINEST_TIMESCALE:
        return _FINEST_TIMESCALE
    return ticks * ceil(_COARSEST_TIMESCALE / ticks)


def _write_playlist(path: Path, encoded: EncodedBaseStream, picture: Picture) -> None:
    segments = [
        Segment(
            first_frame=each.first_frame,
            time_ticks=each.time_ticks,
            base_stream=ByteRange(offset=each.offset, byte_count=each.byte_count, sha256=each.sha256),
            patch_index=None,
        )
        for each in encoded.segments
    ]
    text = media_playlist(
        segments,
        header_byte_count=encoded.header.byte_count,
        time_base=encoded.time_base.fraction,
        duration_seconds=picture.duration_seconds,
    )
    path.write_text(text)
