"""Stage 2: the low-resolution stream, as every player and every later stage will see it."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import zip_longest
from math import ceil
from pathlib import Path
from typing import Any, Literal

import ffmpeg
from pydantic import BaseModel, ConfigDict

from core.presets import BaseStreamSettings, EncodingSettings
from stdo.bundle.manifest import Picture
from stdo.decoder.frames import decode_video
from workers.base_stream.encoders import encoder_options
from workers.errors import FrameMismatchError
from workers.ffmpeg.program import FFmpeg, apply_filters, file_url
from workers.progress import Progress
from workers.source.colour import EXACT_SCALING, colour_parameters
from workers.source.frames import canvas_stream, open_input
from workers.source.probe import SourceInfo

_FINEST_TIMESCALE = 1_000_000
_COARSEST_TIMESCALE = 1_000


class EncodedBaseStream(BaseModel):
    """The low-resolution stream: fragmented MP4, checked against the source by decoding it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    codec: Literal["h264", "hevc", "av1"]
    lossless: bool
    audio_codec: Literal["aac"] | None
    ffmpeg_version: str
    """Of the program that encoded it: the bundle may be finished on another machine."""


def encode_base_stream(
    source: Path,
    info: SourceInfo,
    settings: EncodingSettings,
    out: Path,
    report: Progress,
    *,
    program: FFmpeg | None = None,
) -> EncodedBaseStream:
    """Downscale the source's canvas and encode it to `out`.

    Raises:
        FFmpegFailedError, FFmpegTimedOutError: from the encoder.
        FrameMismatchError: the stream has other frames, or other times, than the source.
        PictureTooSmallError: for the encoder that the settings name.
    """
    picture = info.picture(settings.scale)
    output = _output(source, info, picture, settings.base_stream, out)
    frame_count = info.source.frame_count
    program = program or FFmpeg()
    program.run(output, lambda done: report("base_stream", min(done, frame_count), frame_count, "frames"))
    _check_frames(out, info, sign_of_life=lambda: report("base_stream", frame_count, frame_count, "frames"))
    report("base_stream", frame_count, frame_count, "frames")
    codec = settings.base_stream.codec
    return EncodedBaseStream(
        codec="h264" if codec == "lossless" else codec,
        lossless=codec == "lossless",
        audio_codec=None if info.audio_stream_index is None else "aac",
        ffmpeg_version=program.version(),
    )


def _output(source: Path, info: SourceInfo, picture: Picture, settings: BaseStreamSettings, out: Path) -> Any:
    """The whole ffmpeg command, as ffmpeg-python writes it down."""
    opened = open_input(source, info)
    streams = [_downscaled(canvas_stream(opened, info, picture), picture, settings)]
    sound: dict[str, Any] = {}
    if info.audio_stream_index is not None:
        streams.append(opened[str(info.audio_stream_index)])
        sound = _sound_options(info, settings)
    timescale = _timescale(info)
    return ffmpeg.output(
        *streams,
        file_url(out),
        format="mp4",
        # Every frame with its own time, in ticks that hold it exactly. The movie's clock measures the edit lists.
        fps_mode="passthrough",
        enc_time_base=f"1:{timescale}",
        video_track_timescale=timescale,
        movie_timescale=timescale,
        # Waiting with the header lets it state where each track starts.
        movflags="frag_keyframe+delay_moov+default_base_moof",
        # Nothing of the source's metadata, and no date or version: the same job gives the same bytes.
        map_metadata=-1,
        map_chapters=-1,
        fflags="+bitexact",
        **encoder_options(settings, picture),
        **sound,
    ).overwrite_output()


def _downscaled(canvas: Any, picture: Picture, settings: BaseStreamSettings) -> Any:
    """The canvas at low-resolution size, each plane on its own, its corners on the corners of the canvas.

    So upscaling each plane in the same way, as players and this project's baselines do, shifts nothing.
    """
    scaled = canvas.filter(
        "scale",
        w=picture.base_width,
        h=picture.base_height,
        flags=f"{settings.downscale}+{EXACT_SCALING}",
        sws_dither="none",
        in_chroma_loc="center",
        out_chroma_loc="center",
    )
    return apply_filters(scaled, [colour_parameters(picture.colour)])


def _sound_options(info: SourceInfo, settings: BaseStreamSettings) -> dict[str, Any]:
    if info.source.audio_codec == "aac":
        # Transport streams carry AAC with headers of its own, which MP4 has no place for.
        return {"acodec": "copy", "bsf:a": "aac_adtstoasc"}
    return {
        "acodec": "aac",
        "audio_bitrate": f"{settings.audio_bitrate_kbps}k",
        # The layouts that every AAC decoder knows.
        "af": "aformat=channel_layouts=mono|stereo|5.1",
        "flags:a": "+bitexact",
    }


def _timescale(info: SourceInfo) -> int:
    """Ticks a second: the source's own, where an MP4 can have them."""
    ticks = info.tick.denominator
    if ticks > _FINEST_TIMESCALE:
        return _FINEST_TIMESCALE
    return ticks * ceil(_COARSEST_TIMESCALE / ticks)


def _check_frames(base_stream: Path, info: SourceInfo, *, sign_of_life: Callable[[], None]) -> None:
    """Compare the frames that a client will see with the source's: as many, each at its time (or the nearest tick).

    Args:
        sign_of_life: called after every frame.
    """
    tolerance = Fraction(1, 2 * _FINEST_TIMESCALE) if info.tick.denominator > _FINEST_TIMESCALE else Fraction(0)
    for number, (wanted, frame) in enumerate(zip_longest(info.frame_times(), decode_video(base_stream))):
        if wanted is None or frame is None:
            raise FrameMismatchError(
                f"The low-resolution stream has {'fewer' if frame is None else 'more'} frames than the source's "
                f"{info.source.frame_count}. Encode the source anew with another program, then upload it again."
            )
        if abs(frame.time - wanted) > tolerance:
            raise FrameMismatchError(
                f"Frame {number} of the low-resolution stream is shown at {float(frame.time):.6f} s, but at "
                f"{float(wanted):.6f} s in the source. Encode it anew with regular timestamps, then upload it again."
            )
        sign_of_life()
