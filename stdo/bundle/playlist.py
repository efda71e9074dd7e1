"""The base stream as an HLS media playlist of byte ranges, and a ladder's multivariant playlist (RFC 8216)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil
from pathlib import PurePosixPath

from stdo.bundle.manifest import Manifest
from stdo.bundle.segments import Segment
from stdo.errors import MalformedPlaylistError

_MICROSECONDS = 10**6
_LONGEST_ERROR_SECONDS = 0.001
_SEGMENT = re.compile(r"#EXTINF:(\d+(?:\.\d+)?),[^\n]*\n#EXT-X-BYTERANGE:(\d+)@(\d+)\n([^#\n][^\n]*)\n")
_HEADER = re.compile(r'^#EXT-X-MAP:URI="([^"]+)",BYTERANGE="(\d+)@0"$', re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class PlaylistSegment:
    """What a media playlist says of one segment."""

    seconds: float
    offset: int
    byte_count: int
    uri: str


@dataclass(frozen=True, kw_only=True)
class MediaPlaylist:
    """What a media playlist says."""

    header_uri: str
    header_byte_count: int
    segments: tuple[PlaylistSegment, ...]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One rung of a ladder, as a player chooses it."""

    uri: str
    """Of its media playlist, relative to the multivariant playlist."""
    bandwidth: int
    """Bits a second of the densest segment."""
    average_bandwidth: int
    """Bits a second of the whole."""
    width: int
    height: int
    """Of the base stream, as a player without networks shows it."""
    frame_rate: Fraction
    codecs: str
    """Of RFC 6381, for picture and sound."""


def media_playlist(
    segments: Sequence[Segment],
    *,
    header_byte_count: int,
    time_base: Fraction,
    duration_seconds: Fraction | float,
    uri: str = "base.mp4",
) -> str:
    """The text of `base.m3u8`.

    Args:
        header_byte_count: of the base stream's header.
        time_base: seconds a tick of the segments' times.
        duration_seconds: from the first frame's time to the end of the last frame.
        uri: of the base stream, relative to the playlist.
    """
    durations = segment_durations(segments, time_base=time_base, duration_seconds=duration_seconds)
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        f"#EXT-X-TARGETDURATION:{ceil(max(durations))}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-INDEPENDENT-SEGMENTS",
    ]
    for segment, seconds in zip(segments, durations, strict=True):
        part = segment.base_stream
        lines += [
            # Once would do, but FFmpeg 9 then joins all segments behind a URL into one range and plays only the first.
            f'#EXT-X-MAP:URI="{uri}",BYTERANGE="{header_byte_count}@0"',
            f"#EXTINF:{float(seconds):.6f},",
            f"#EXT-X-BYTERANGE:{part.byte_count}@{part.offset}",
            uri,
        ]
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""])


def segment_durations(
    segments: Sequence[Segment], *, time_base: Fraction, duration_seconds: Fraction | float
) -> list[Fraction]:
    """How long each segment is shown, in whole microseconds and at least one.

    Times are rounded and not durations, so that what a player adds up stays right.
    """
    start = segments[0].time_ticks
    times = [(segment.time_ticks - start) * time_base for segment in segments]
    rounded = [round(time * _MICROSECONDS) for time in (*times, Fraction(duration_seconds))]
    return [Fraction(max(1, after - before), _MICROSECONDS) for before, after in pairwise(rounded)]


def parse_media_playlist(text: str) -> MediaPlaylist:
    """Read a base stream's playlist.

    Raises:
        MalformedPlaylistError: it is no media playlist of byte ranges.
    """
    headers = set(_HEADER.findall(text))
    segments = tuple(
        PlaylistSegment(seconds=float(seconds), offset=int(offset), byte_count=int(byte_count), uri=uri)
        for seconds, byte_count, offset, uri in _SEGMENT.findall(text)
    )
    if not text.startswith("#EXTM3U\n") or len(headers) != 1 or len(segments) != text.count("#EXTINF"):
        raise MalformedPlaylistError("The playlist is no HLS media playlist of byte ranges with one header.")
    ((header_uri, header_bytes),) = headers
    return MediaPlaylist(header_uri=header_uri, header_byte_count=int(header_bytes), segments=segments)


def check_playlist(data: bytes, *, segments: Sequence[Segment], manifest: Manifest) -> None:
    """Check that a bundle's playlist says what its segment table says.

    Raises:
        MalformedPlaylistError: it doesn't, or can't be read.
    """
    try:
        playlist = parse_media_playlist(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise MalformedPlaylistError("The playlist is no text in UTF-8.") from error
    for fault in _faults(playlist, segments, manifest):
        raise MalformedPlaylistError(f"The playlist doesn't agree with the segment table: {fault}.")


def multivariant_playlist(variants: Sequence[Variant]) -> str:
    """The text of `ladder.m3u8`."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    for variant in variants:
        attributes = (
            f"BANDWIDTH={variant.bandwidth}",
            f"AVERAGE-BANDWIDTH={variant.average_bandwidth}",
            f'CODECS="{variant.codecs}"',
            f"RESOLUTION={variant.width}x{variant.height}",
            f"FRAME-RATE={float(variant.frame_rate):.3f}",
        )
        lines += [f"#EXT-X-STREAM-INF:{','.join(attributes)}", variant.uri]
    return "\n".join([*lines, ""])


def _faults(playlist: MediaPlaylist, segments: Sequence[Segment], manifest: Manifest) -> Iterator[str]:
    stream = manifest.base_stream
    folder = PurePosixPath(manifest.playlist.path).parent
    if {str(folder / uri) for uri in (playlist.header_uri, *(part.uri for part in playlist.segments))} != {stream.path}:
        yield f"it is not of {stream.path} alone"
    if playlist.header_byte_count != stream.header.byte_count:
        yield f"its header has {playlist.header_byte_count} bytes, not {stream.header.byte_count}"
    said = [(part.offset, part.byte_count) for part in playlist.segments]
    if said != [(segment.base_stream.offset, segment.base_stream.byte_count) for segment in segments]:
        yield "its byte ranges are others"
    durations = segment_durations(
        segments, time_base=stream.time_base.fraction, duration_seconds=manifest.picture.duration_seconds
    )
    for number, (part, seconds) in enumerate(zip(playlist.segments, durations, strict=False)):
        if abs(part.seconds - float(seconds)) > _LONGEST_ERROR_SECONDS:
            yield f"segment {number} lasts {part.seconds} s, not {float(seconds)} s"
