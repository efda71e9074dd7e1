"""The options of FFmpeg's video encoders for a low-resolution stream that every player plays and that is the same each
time: fixed thread counts where they matter to the result, closed groups of pictures, no B-frame across a key frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.presets import BaseStreamSettings
from stdo.bundle.manifest import Picture
from workers.errors import PictureTooSmallError

DEFAULT_CRF: Mapping[str, int] = {"h264": 20, "hevc": 22, "av1": 28}

_SMALLEST_SIDE = 16
"""x265 refuses smaller pictures, and SVT-AV1 crashes on them."""

_THREADS = 4
"""x264's and x265's output depends on it, so that it is not the machine's number of cores."""
_SVT_AV1_PRESETS = {"fast": 10, "medium": 8, "slow": 5}


def encoder_options(settings: BaseStreamSettings, picture: Picture) -> dict[str, Any]:
    """Options of the video encoder, for `ffmpeg.output`.

    Raises:
        PictureTooSmallError: for this encoder.
    """
    if settings.codec in ("hevc", "av1") and min(picture.base_width, picture.base_height) < _SMALLEST_SIDE:
        raise PictureTooSmallError(
            f"At low resolution the picture is {picture.base_width}x{picture.base_height}, and {settings.codec} "
            f"encoders take at least {_SMALLEST_SIDE} pixels a side. Choose base_stream.codec h264, or a smaller scale."
        )
    rate = picture.average_frame_rate
    keyframe_interval = max(1, round(settings.keyframe_interval_seconds * rate.numerator / rate.denominator))
    options: dict[str, Any] = {"pix_fmt": "yuv420p", "g": keyframe_interval, "flags:v": "+bitexact"}
    if picture.variable_frame_rate:
        # An interval in frames says little about seconds here.
        seconds = settings.keyframe_interval_seconds
        options["force_key_frames"] = f"expr:isnan(prev_forced_t)+gte(t,prev_forced_t+{seconds})"
    match settings.codec:
        case "h264" | "lossless":
            own = {"vcodec": "libx264", "preset": settings.speed, "threads": _THREADS}
        case "hevc":
            own = {
                "vcodec": "libx265",
                "preset": settings.speed,
                "x265-params": f"log-level=error:open-gop=0:frame-threads=2:pools={_THREADS}",
                # Apple's players know HEVC by this name alone.
                "tag:v": "hvc1",
            }
        case "av1":
            own = {"vcodec": "libsvtav1", "preset": _SVT_AV1_PRESETS[settings.speed]}
    return options | own | _rate_control(settings)


def _rate_control(settings: BaseStreamSettings) -> dict[str, Any]:
    if settings.codec == "lossless":
        return {"qp": 0}
    if settings.bitrate_kbps is not None:
        return {"b:v": f"{settings.bitrate_kbps}k"}
    return {"crf": DEFAULT_CRF[settings.codec] if settings.crf is None else settings.crf}
