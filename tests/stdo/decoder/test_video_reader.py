"""Reading base streams: whole files, and single segments from memory."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest

from stdo.bundle.boxes import read_stream_ranges
from stdo.bundle.codecs import BitDepth
from stdo.decoder.frames import YuvFrame
from stdo.decoder.video_reader import decode_segment, decode_video
from stdo.errors import VideoError
from tests.stdo.bundles import make_picture, moving_frames, write_base_stream

REORDERED = {"qp": "20", "bf": "3", "x264-params": "b-adapt=0:keyint=7:open-gop=1:scenecut=0"}


@pytest.fixture(scope="module")
def reordered_video(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Fraction]]:
    """21 frames at uneven times, with B-frames, open groups of pictures and several key frames."""
    ticks = np.cumsum([0, *np.random.default_rng(0).integers(200, 1200, 20)])
    times = [Fraction(int(tick), 12_800) for tick in ticks]
    path = tmp_path_factory.mktemp("video") / "base.mp4"
    picture = make_picture(width=64, height=48, scale=2, frame_count=21)
    write_base_stream(path, moving_frames(picture, times), options=REORDERED)
    return path, times


def test_frames_come_in_order_of_presentation_with_their_times(reordered_video: tuple[Path, list[Fraction]]) -> None:
    path, times = reordered_video
    assert [frame.time for frame in decode_video(path)] == times


_KEY_FRAMES = "min-keyint=1:scenecut=0:open-gop=0"
ENCODERS = {
    "h264": ("yuv420p", "libx264", "-bf", "3", "-forced-idr", "1", "-x264-params", f"keyint=infinite:{_KEY_FRAMES}"),
    "h264 10 bits": (
        *("yuv420p10le", "libx264", "-bf", "3", "-forced-idr", "1"),
        *("-x264-params", f"keyint=infinite:{_KEY_FRAMES}"),
    ),
    "hevc": (
        *("yuv420p10le", "libx265", "-tag:v", "hvc1", "-forced-idr", "1"),
        *("-x265-params", f"keyint=-1:{_KEY_FRAMES}:log-level=error"),
    ),
    "av1": ("yuv420p10le", "libsvtav1", "-crf", "30", "-preset", "10", "-svtav1-params", "keyint=-1:scd=0"),
    "vvc": (
        *("yuv420p10le", "libvvenc", "-preset", "faster"),
        *("-vvenc-params", "decodingrefreshtype=idr_no_radl:intraperiod=16"),
    ),
}
UNEVEN_TIMES = [
    Fraction(int(tick), 12_800) for tick in 5000 + np.cumsum([0, *np.random.default_rng(1).integers(200, 1200, 39)])
]


def _timing(encoder: str) -> tuple[list[Fraction], tuple[str, ...]]:
    """Times of the source, and what keeps them. libvvenc mixes up all but a tick a frame."""
    if encoder == "libvvenc":
        return [Fraction(10 + number, 25) for number in range(40)], ("-enc_time_base", "1:25")
    return UNEVEN_TIMES, ("-enc_time_base", "1:12800")


@pytest.fixture(scope="module", params=ENCODERS.values(), ids=ENCODERS.keys())
def coded_video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 frames, the first at about 0.4 s, in segments that begin with frames 0 and 20, or 0, 16 and 32 (VVC)."""
    folder = tmp_path_factory.mktemp("coded")
    picture = make_picture(width=128, height=96, scale=1, frame_count=40)
    pixel_format, encoder, *options = request.param
    times, time_base = _timing(encoder)
    write_base_stream(folder / "source.mp4", moving_frames(picture, times))
    forced = float(times[20]) - 0.001
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-copyts", "-i", str(folder / "source.mp4")),
        *("-fps_mode", "passthrough", *time_base, "-pix_fmt", pixel_format),
        *("-c:v", encoder, *options, "-force_key_frames", f"{forced:.6f}", "-video_track_timescale", "12800"),
        *("-movflags", "frag_keyframe+delay_moov+default_base_moof+skip_trailer"),
    ]
    subprocess.run([*command, str(folder / "base.mp4")], check=True, timeout=120, capture_output=True)
    return folder / "base.mp4"


def _same(frame: YuvFrame, expected: YuvFrame) -> bool:
    planes = ((frame.y, expected.y), (frame.u, expected.u), (frame.v, expected.v))
    return frame.time == expected.time and all(np.array_equal(plane, other) for plane, other in planes)


def test_every_codec_of_the_format_is_read(coded_video: Path) -> None:
    whole = list(decode_video(coded_video))
    source = decode_video(coded_video.with_name("source.mp4"))
    assert [frame.time for frame in whole] == [frame.time for frame in source]


def test_segments_decoded_alone_give_the_frames_of_the_whole(coded_video: Path) -> None:
    data, ranges = coded_video.read_bytes(), read_stream_ranges(coded_video)
    header = data[: ranges.header.byte_count]
    segments = [
        list(decode_segment(header, data[part.offset : part.end], name="a segment")) for part in ranges.fragments
    ]
    assert [len(segment) for segment in segments] in ([20, 20], [16, 16, 8])
    alone = [frame for segment in segments for frame in segment]
    assert all(_same(frame, expected) for frame, expected in zip(alone, decode_video(coded_video), strict=True))


@pytest.mark.parametrize("bit_depth", [8, 10])
def test_samples_keep_their_depth(bit_depth: BitDepth, tmp_path: Path) -> None:
    picture = make_picture(width=90, height=50, scale=2, frame_count=3)
    frames = moving_frames(picture, [Fraction(number, 25) for number in range(3)], bit_depth=bit_depth)
    write_base_stream(tmp_path / "base.mp4", frames)
    decoded = list(decode_video(tmp_path / "base.mp4"))
    assert {frame.bit_depth for frame in decoded} == {bit_depth}
    assert all(_same(frame, expected) for frame, expected in zip(decoded, frames, strict=True))


@pytest.mark.parametrize("content", [b"", b"#EXTM3U\nhttp://127.0.0.1/x.ts\n", b"\0" * 4096])
def test_what_is_no_mp4_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "base.mp4").write_bytes(content)
    with pytest.raises(VideoError, match=r"base\.mp4 can't be opened"):
        next(decode_video(tmp_path / "base.mp4"))


def test_stream_of_another_pixel_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "base.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv444p"
        container.mux(stream.encode(av.VideoFrame(32, 32, "yuv444p")))
        container.mux(stream.encode(None))
    with pytest.raises(VideoError, match="yuv444p"):
        next(decode_video(path))
