"""MIME types from what FFmpeg's encoders really write."""

from __future__ import annotations

import subprocess
from pathlib import Path

import av
import imageio_ffmpeg
import pytest

from stdo.bundle.codecs import CodecName
from stdo.bundle.mime import ColourCodes, audio_codecs_string, codecs_of, codecs_string, mime_type
from stdo.errors import VideoError


def _extradata(folder: Path, *options: str) -> tuple[bytes, bytes]:
    """Configuration records of video and sound of a clip of 320x180 that FFmpeg's command line makes."""
    path = folder / "clip.mp4"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x180:d=0.2:r=25"]
    command += ["-f", "lavfi", "-i", "sine=d=0.2", *options, str(path)]
    subprocess.run(command, check=True, timeout=120)
    with av.open(str(path)) as clip:
        return tuple(bytes(stream.codec_context.extradata or b"") for stream in clip.streams)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("codec", "options", "expected"),
    [
        ("h264", ("-c:v", "libx264", "-pix_fmt", "yuv420p"), "avc1.64000c"),
        ("h264", ("-c:v", "libx264", "-pix_fmt", "yuv420p10le"), "avc1.6e000c"),
        ("hevc", ("-c:v", "libx265", "-pix_fmt", "yuv420p", "-x265-params", "log-level=error"), "hvc1.1.6.L60.90"),
        ("hevc", ("-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", "log-level=error"), "hvc1.2.4.L60.90"),
        ("av1", ("-c:v", "libsvtav1", "-preset", "12", "-pix_fmt", "yuv420p10le"), "av01.0.00M.10"),
        ("av1", ("-c:v", "libsvtav1", "-preset", "12", "-pix_fmt", "yuv420p"), "av01.0.00M.08"),
        ("vvc", ("-c:v", "libvvenc", "-preset", "faster", "-pix_fmt", "yuv420p10le"), "vvc1.1.L32.CQA"),
    ],
)
def test_video_is_named_as_players_ask_for_it(
    codec: CodecName, options: tuple[str, ...], expected: str, tmp_path: Path
) -> None:
    video, sound = _extradata(tmp_path, *options)
    assert codecs_string(codec, video) == expected
    assert audio_codecs_string("aac", sound) == "mp4a.40.2"


AV1 = bytes([0x81, 0x08, 0x4C, 0])  # Main profile, level 4.0, 10 bits, 4:2:0.


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ((1, 1, 1, False), "av01.0.08M.10"),
        ((2, 2, 2, False), "av01.0.08M.10"),
        ((9, 16, 9, False), "av01.0.08M.10.0.110.09.16.09.0"),
        ((1, 1, 1, True), "av01.0.08M.10.0.110.01.01.01.1"),
    ],
)
def test_colour_of_av1_is_said_where_it_is_not_bt709(codes: tuple[int, int, int, bool], expected: str) -> None:
    primaries, transfer, matrix, is_full = codes
    colour = ColourCodes(primaries=primaries, transfer=transfer, matrix=matrix, is_full_range=is_full)
    assert codecs_string("av1", AV1, colour=colour) == expected


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vvc"])
@pytest.mark.parametrize("record", [b"", b"\0" * 30, b"\xff" * 3])
def test_what_is_no_record_is_refused(codec: CodecName, record: bytes) -> None:
    with pytest.raises(VideoError, match="no valid configuration record of"):
        codecs_string(codec, record)


def test_sound_is_named() -> None:
    assert audio_codecs_string("aac", b"") == "mp4a.40.2"
    assert audio_codecs_string("aac", bytes([0x2B, 0x92])) == "mp4a.40.5"
    assert audio_codecs_string("aac", (31 << 11 | 10 << 5).to_bytes(2, "big")) == "mp4a.40.42"
    assert audio_codecs_string("opus", b"") == "opus"
    with pytest.raises(VideoError, match=r"no sound in pcm_s16le; it may be aac, ac3"):
        audio_codecs_string("pcm_s16le", b"")


def test_mime_type_is_taken_apart_again() -> None:
    assert mime_type("avc1.64000d", None) == 'video/mp4; codecs="avc1.64000d"'
    both = mime_type("avc1.64000d", "mp4a.40.2")
    assert both == 'video/mp4; codecs="avc1.64000d,mp4a.40.2"'
    assert codecs_of(both) == "avc1.64000d,mp4a.40.2"
