"""The HLS playlists, played by FFmpeg."""

from __future__ import annotations

import re
import subprocess
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import pytest

import stdo
from stdo.bundle.playlist import check_playlist, media_playlist, parse_media_playlist
from stdo.errors import MalformedPlaylistError
from tests.stdo.bundle.conftest import Site
from tests.stdo.bundle.test_segments import make_segments
from tests.stdo.bundles import write_small_bundle

UNEVEN = [Fraction(tick, 12_800) for tick in (0, 512, 1100, 2048, 2560, 4000)]


def test_playlist_is_what_it_says() -> None:
    text = media_playlist(
        make_segments(), header_byte_count=1000, time_base=Fraction(1, 12_800), duration_seconds=Fraction(57, 5)
    )
    assert text.splitlines() == [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        "#EXT-X-TARGETDURATION:6",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        '#EXT-X-MAP:URI="base.mp4",BYTERANGE="1000@0"',
        "#EXTINF:5.040000,",
        "#EXT-X-BYTERANGE:5000@1000",
        "base.mp4",
        '#EXT-X-MAP:URI="base.mp4",BYTERANGE="1000@0"',
        "#EXTINF:4.800000,",
        "#EXT-X-BYTERANGE:3000@6000",
        "base.mp4",
        '#EXT-X-MAP:URI="base.mp4",BYTERANGE="1000@0"',
        "#EXTINF:1.560000,",
        "#EXT-X-BYTERANGE:1@9000",
        "base.mp4",
        "#EXT-X-ENDLIST",
    ]


def test_rounding_of_durations_does_not_add_up() -> None:
    segments = make_segments()
    text = media_playlist(segments, header_byte_count=1000, time_base=Fraction(1, 30_011), duration_seconds=100)
    assert sum(Fraction(seconds) for seconds in re.findall(r"#EXTINF:([\d.]+),", text)) == 100


def _played(address: str, folder: Path) -> list[tuple[str, str]]:
    """Time stamp and checksum of each frame, as FFmpeg plays them."""
    options = ["-allowed_extensions", "ALL"] if address.endswith(".m3u8") else []
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *options, "-copyts", "-i", address]
    command += ["-map", "0:v", "-fps_mode", "passthrough", "-enc_time_base", "1:12800", "-f", "framecrc", "-"]
    done = subprocess.run(command, cwd=folder, check=True, timeout=60, capture_output=True, text=True)
    assert done.stderr == ""
    rows = [line.split(",") for line in done.stdout.splitlines() if not line.startswith("#")]
    return [(row[2].strip(), row[5].strip()) for row in rows]


@pytest.mark.parametrize("sound_seconds", [0, 0.3])
def test_ffmpeg_plays_every_frame_at_its_time(sound_seconds: float, tmp_path: Path) -> None:
    folder = write_small_bundle(
        tmp_path / "bundle",
        times=UNEVEN,
        sound_seconds=sound_seconds,
        segment_starts=(0, 3, 5),
        base_stream_options={"qp": "16", "bf": "2"},
    )
    played = _played("base.m3u8", folder)
    assert [int(time) for time, _ in played] == [0, 512, 1100, 2048, 2560, 4000]
    assert played == _played("base.mp4", folder)


def test_ffmpeg_plays_every_frame_behind_a_url(site: Site, folder: Path) -> None:
    played = _played(f"{site.url}/bundle/base.m3u8", folder)
    assert [int(time) for time, _ in played] == [0, 512, 1024, 1536, 2048]
    assert played == _played("base.mp4", folder)
    ranges = {asked for path, asked in site.asked if path.endswith(".mp4")}
    with stdo.open_bundle(folder) as bundle:
        parts = [segment.base_stream for segment in bundle.segments]
    assert {f"bytes={part.offset}-{part.end - 1}" for part in parts} <= ranges


def test_playlist_is_read_as_it_was_written() -> None:
    segments = make_segments()
    playlist = parse_media_playlist(
        media_playlist(segments, header_byte_count=1000, time_base=Fraction(1, 12_800), duration_seconds=11.4)
    )
    assert (playlist.header_uri, playlist.header_byte_count) == ("base.mp4", 1000)
    assert [part.seconds for part in playlist.segments] == [5.04, 4.8, 1.56]
    assert [part.offset for part in playlist.segments] == [1000, 6000, 9000]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("#EXTM3U", "#EXTM4U", "is no HLS media playlist"),
        ("#EXT-X-MAP", "#EXT-X-NAP", "is no HLS media playlist"),
        ("#EXT-X-BYTERANGE", "#EXT-X-RANGE", "is no HLS media playlist"),
        ("\nbase.mp4", "\nother.mp4", "not of base.mp4 alone"),
        ("@0", "1@0", "its header has"),
        ("#EXT-X-BYTERANGE:", "#EXT-X-BYTERANGE:1", "byte ranges are others"),
        ("#EXTINF:0.04", "#EXTINF:0.05", "segment 2 lasts 0.05 s, not 0.04 s"),
    ],
)
def test_playlist_that_says_something_else_is_refused(before: str, after: str, message: str, folder: Path) -> None:
    text = (folder / "base.m3u8").read_text(encoding="utf-8")
    assert before in text
    with stdo.open_bundle(folder) as bundle, pytest.raises(MalformedPlaylistError, match=message):
        check_playlist(text.replace(before, after).encode(), segments=bundle.segments, manifest=bundle.manifest)


def test_playlist_that_is_no_text_is_refused(folder: Path) -> None:
    with stdo.open_bundle(folder) as bundle, pytest.raises(MalformedPlaylistError, match="no text in UTF-8"):
        check_playlist(b"#EXTM3U\n\xff", segments=bundle.segments, manifest=bundle.manifest)
