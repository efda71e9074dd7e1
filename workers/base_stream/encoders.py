"""The options of FFmpeg's video encoders: one function a codec, in a table.

All of them make the same stream each time (fixed thread counts where they matter to the result), with key frames where
the segments begin and nowhere else, and with closed groups of pictures, so that each segment is decoded by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from core.encoding_settings import BaseStreamSettings
from stdo.bundle.codecs import CODECS, BitDepth, CodecName
from stdo.bundle.manifest import Picture
from workers.errors import PictureTooSmallError

_SMALLEST_SIDES: Mapping[CodecName, int] = {"h264": 2, "hevc": 16, "av1": 16, "vvc": 16}
"""x265 and VVenC refuse smaller pictures, and SVT-AV1 crashes on them."""
_SMALLEST_WIDTH_HEVC_10 = 50
"""x265 with ten bits writes beyond its buffers at widths from 44 to 48; none below is trusted."""
_THREADS = 4
"""The output of x264 and x265 depends on it, so that it is not the machine's number of cores."""
_VVC_REORDERED = 8
"""Frames that VVenC decodes before one that is shown earlier, at most: the depth of its pyramid is 5."""
_NO_DISTANCE = 100_000
"""Frames between two key frames, where an encoder wants a number."""


@dataclass(frozen=True, kw_only=True)
class EncoderInput:
    """What an encoder's options depend on."""

    settings: BaseStreamSettings
    picture: Picture
    bit_depth: BitDepth
    """Of the base stream."""
    segment_frames: int
    """Frames of the first segment, which is the distance of key frames where a codec takes one distance only."""
    mean_frame_ticks: float
    """Mean distance of two frames in ticks of the stream, 1 or more."""
    largest_lead_ticks: int
    """How much earlier a frame is shown than it would be at the mean distance, at most."""


def base_bit_depth(settings: BaseStreamSettings, picture: Picture) -> BitDepth:
    """Bits of the base stream's samples: as asked, else ten where the picture has them and players of the codec too."""
    if settings.bit_depth is not None:
        return settings.bit_depth
    codec = CODECS[settings.codec]
    return 10 if picture.bit_depth == 10 and codec.carries_hdr else codec.bit_depths[0]


def check_size(settings: BaseStreamSettings, picture: Picture) -> None:
    """Raise PictureTooSmallError where the encoder takes no base frames of this size."""
    smallest = _SMALLEST_SIDES[settings.codec]
    title = CODECS[settings.codec].title
    if settings.codec == "hevc" and base_bit_depth(settings, picture) == 10:
        least_width, title = _SMALLEST_WIDTH_HEVC_10, f"{title} (ten bits)"
    else:
        least_width = smallest
    if picture.base_width < least_width or picture.base_height < smallest:
        raise PictureTooSmallError(
            f"The base stream would be {picture.base_width}x{picture.base_height}, and {title} encoders take at least "
            f"{least_width}x{smallest} pixels. Choose base_stream.codec h264, or a smaller scale."
        )


def encoder_options(given: EncoderInput) -> dict[str, Any]:
    """Options of the video encoder, for `ffmpeg.output`."""
    codec = given.settings.codec
    common = {"vcodec": CODECS[codec].encoder, "flags:v": "+bitexact"}
    return common | _OPTIONS[codec](given)


def _h264(given: EncoderInput) -> dict[str, Any]:
    settings = given.settings
    return {
        "preset": settings.speed,
        "threads": _THREADS,
        "forced-idr": 1,
        "x264-params": "keyint=infinite:min-keyint=1:scenecut=0:open-gop=0",
        **_rate_control(settings, default_crf=20, lossless={"qp": 0}),
    }


def _hevc(given: EncoderInput) -> dict[str, Any]:
    settings = given.settings
    own = f"log-level=error:keyint=-1:min-keyint=1:scenecut=0:open-gop=0:frame-threads=2:pools={_THREADS}"
    return {
        "preset": settings.speed,
        "forced-idr": 1,
        "x265-params": f"{own}:lossless=1" if settings.lossless else own,
        # Apple's players know HEVC by this name alone.
        "tag:v": "hvc1",
        **_rate_control(settings, default_crf=22, lossless={}),
    }


def _av1(given: EncoderInput) -> dict[str, Any]:
    settings = given.settings
    presets = {"fast": 10, "medium": 8, "slow": 5}
    # No key frames but those that are forced. With a constant quality SVT-AV1 has a word for that, but refuses it with
    # a bitrate: there it gets a distance that no segment reaches.
    free = {"svtav1-params": "keyint=-1:scd=0"}
    bounded = {"g": _NO_DISTANCE, "svtav1-params": "scd=0"}
    return {
        "preset": presets[settings.speed],
        **(free if settings.bitrate_kbps is None else bounded),
        **_rate_control(settings, default_crf=28, lossless={}),
    }


def _vvc(given: EncoderInput) -> dict[str, Any]:
    settings = given.settings
    presets = {"fast": "faster", "medium": "fast", "slow": "medium"}
    # Any other kind of refresh shows frames before the key frame that lie after it in the file.
    own = f"decodingrefreshtype=idr_no_radl:intraperiod={given.segment_frames}"
    full_range = ":videofullrange=1" if given.picture.colour.range == "full" else ""
    rate = _rate_control(settings, default_crf=28, lossless={})
    # FFmpeg gives VVenC's packets decode times that count one tick a frame, whatever a tick is. They are rewritten:
    # evenly spread, and early enough that no frame is decoded after it is shown (docs/decisions/0010).
    lead = given.largest_lead_ticks + ceil(_VVC_REORDERED * given.mean_frame_ticks)
    return {
        "preset": presets[settings.speed],
        "threads": _THREADS,
        "bsf:v": f"setts=pts=PTS:dts=floor(N*{given.mean_frame_ticks!r})-{lead}",
        "vvenc-params": own + full_range,
        # VVenC has no rate factor; its quantiser means nearly the same.
        **({"qp": rate["crf"]} if "crf" in rate else rate),
    }


def _rate_control(settings: BaseStreamSettings, *, default_crf: int, lossless: dict[str, Any]) -> dict[str, Any]:
    if settings.lossless:
        return lossless
    if settings.bitrate_kbps is not None:
        return {"b:v": f"{settings.bitrate_kbps}k"}
    return {"crf": default_crf if settings.crf is None else settings.crf}


_OPTIONS: Mapping[CodecName, Callable[[EncoderInput], dict[str, Any]]] = {
    "h264": _h264,
    "hevc": _hevc,
    "av1": _av1,
    "vvc": _vvc,
}
