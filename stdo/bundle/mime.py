"""MIME types with the `codecs` parameter (RFC 6381), from the configuration records that MP4 carries.

A record is what FFmpeg calls extradata: the content of the boxes avcC, hvcC, av1C and vvcC (of vvcC without version and
flags), and AAC's AudioSpecificConfig.
"""

from __future__ import annotations

import base64

from stdo.bundle.codecs import CODECS, CodecName
from stdo.bundle.h273 import UNSPECIFIED, ColourCodes
from stdo.errors import VideoError

_AUDIO_CODECS = {"opus": "opus", "mp3": "mp4a.40.34", "ac3": "ac-3", "eac3": "ec-3", "flac": "fLaC", "alac": "alac"}
_BT709 = 1


def mime_type(video_codecs: str, audio_codecs: str | None) -> str:
    """The MIME type of a base stream."""
    codecs = video_codecs if audio_codecs is None else f"{video_codecs},{audio_codecs}"
    return f'video/mp4; codecs="{codecs}"'


def codecs_of(mime_type: str) -> str:
    """The `codecs` parameter of a base stream's MIME type."""
    return mime_type.partition('codecs="')[2].rstrip('"')


def codecs_string(codec: CodecName, extradata: bytes, *, colour: ColourCodes | None = None) -> str:
    """Profile, level and more of a video track, such as `avc1.64001f`.

    Args:
        extradata: the track's configuration record.
        colour: said of AV1 alone, where it isn't BT.709 in limited range.

    Raises:
        VideoError: the bytes are no such record.
    """
    entry = CODECS[codec].sample_entry
    try:
        if codec == "h264":
            return f"{entry}.{_avc(extradata)}"
        if codec == "hevc":
            return f"{entry}.{_hevc(extradata)}"
        if codec == "vvc":
            return f"{entry}.{_vvc(extradata)}"
        return f"{entry}.{_av1(extradata, colour)}"
    except (IndexError, ValueError) as error:
        raise VideoError(f"The video track has no valid configuration record of {CODECS[codec].title}.") from error


def audio_codecs_string(codec: str, extradata: bytes) -> str:
    """The same of a sound track.

    Args:
        codec: FFmpeg's name, such as `aac`.
        extradata: AudioSpecificConfig of AAC; of the others it doesn't matter.

    Raises:
        VideoError: this codec is none that a base stream may have.
    """
    if codec == "aac":
        return f"mp4a.40.{_aac_object_type(extradata)}"
    if codec not in _AUDIO_CODECS:
        raise VideoError(f"A base stream has no sound in {codec}; it may be aac, {', '.join(sorted(_AUDIO_CODECS))}.")
    return _AUDIO_CODECS[codec]


def _avc(record: bytes) -> str:
    """ISO/IEC 14496-15, 5.3.3.1: profile, compatibility, level."""
    _demand(len(record) >= 4 and record[0] == 1)
    return record[1:4].hex()


def _hevc(record: bytes) -> str:
    """ISO/IEC 14496-15, 8.3.3.1 and annex E."""
    _demand(len(record) >= 13 and record[0] == 1)
    space, tier, profile = ("", "A", "B", "C")[record[1] >> 6], "LH"[record[1] >> 5 & 1], record[1] & 31
    compatibility = int(f"{int.from_bytes(record[2:6], 'big'):032b}"[::-1], 2)
    constraints = "".join(f".{byte:X}" for byte in record[6:12].rstrip(b"\0"))
    return f"{space}{profile}.{compatibility:X}.{tier}{record[12]}{constraints}"


def _vvc(record: bytes) -> str:
    """ISO/IEC 14496-15, 11.3.3.1 and annex E; five reserved bits and `ptl_present_flag` come first."""
    _demand(len(record) >= 7 and record[0] & 0xF9 == 0xF9)
    constraint_bytes = record[4] & 63
    profile, tier, level = record[5] >> 1, "LH"[record[5] & 1], record[6]
    constraints = base64.b32encode(record[7 : 7 + constraint_bytes].rstrip(b"\0")).decode().rstrip("=")
    return f"{profile}.{tier}{level}" + (f".C{constraints}" if constraints else "")


def _av1(record: bytes, colour: ColourCodes | None) -> str:
    """AV1 Codec ISO Media File Format Binding, sections 2.3 and 5."""
    _demand(len(record) >= 4 and record[0] == 0x81)
    profile, level, tier = record[1] >> 5, record[1] & 31, "MH"[record[2] >> 7]
    depth = (12 if record[2] & 0x20 else 10) if record[2] & 0x40 else 8
    short = f"{profile}.{level:02d}{tier}.{depth:02d}"
    x, y = record[2] >> 3 & 1, record[2] >> 2 & 1
    subsampling = f"{x}{y}{record[2] & 3 if x and y else 0}"
    monochrome = record[2] >> 4 & 1
    codes = [_BT709, _BT709, _BT709, 0]
    if colour is not None:
        names = (colour.primaries, colour.transfer, colour.matrix)
        codes = [*(_BT709 if code == UNSPECIFIED else code for code in names), int(colour.is_full_range)]
    if (monochrome, subsampling, codes) == (0, "110", [_BT709, _BT709, _BT709, 0]):
        return short
    return f"{short}.{monochrome}.{subsampling}." + ".".join(f"{code:02d}" for code in codes[:3]) + f".{codes[3]}"


def _aac_object_type(record: bytes) -> int:
    """ISO/IEC 14496-3, 1.6.2.1; 2 (low complexity) where nothing is said."""
    if len(record) < 2:
        return 2
    bits = int.from_bytes(record[:2], "big")
    object_type = bits >> 11
    return object_type if object_type != 31 else 32 + (bits >> 5 & 63)


def _demand(holds: bool) -> None:
    if not holds:
        raise ValueError("no such record")
