"""Colour conversion and decoding of the low-resolution stream."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import av
import imageio_ffmpeg
import numpy as np
import numpy.typing as npt
import pytest
from av.container import InputContainer
from hypothesis import given, settings
from hypothesis import strategies as st

from stdo.bundle.manifest import Colour
from stdo.decoder.frames import YuvFrame, decode_video, rgb_to_luma, rgb_to_yuv, yuv_to_rgb
from stdo.decoder.video_reader import open_base_stream, seek_frame
from stdo.errors import FrameRangeError, VideoError
from tests.stdo.bundles import make_picture, moving_frames, random_frame, write_base_stream

LUMA_WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
COLOURS = [
    Colour.model_validate({"matrix": matrix, "range": value_range, "primaries": "unknown", "transfer": "unknown"})
    for matrix, value_range in product(LUMA_WEIGHTS, ("limited", "full"))
]
each_colour = pytest.mark.parametrize("colour", COLOURS, ids=lambda colour: f"{colour.matrix}-{colour.range}")
Reals = npt.NDArray[np.float64]


def _spans(colour: Colour) -> tuple[float, float, float]:
    return (16.0, 219.0, 224.0) if colour.range == "limited" else (0.0, 255.0, 255.0)


def _real_rgb(y: Reals, u: Reals, v: Reals, colour: Colour) -> Reals:
    """The equations of section 6 over real numbers."""
    kr, kb = LUMA_WEIGHTS[colour.matrix]
    offset, luma_span, chroma_span = _spans(colour)
    luma, cb, cr = (y - offset) / luma_span, (u - 128) / chroma_span, (v - 128) / chroma_span
    red, blue = luma + 2 * (1 - kr) * cr, luma + 2 * (1 - kb) * cb
    green = (luma - kr * red - kb * blue) / (1 - kr - kb)
    return np.stack([red, green, blue], axis=-1) * 255


def _real_yuv(rgb: Reals, colour: Colour) -> tuple[Reals, Reals, Reals]:
    kr, kb = LUMA_WEIGHTS[colour.matrix]
    offset, luma_span, chroma_span = _spans(colour)
    red, green, blue = np.moveaxis(rgb / 255, -1, 0)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    u = 128 + chroma_span * (blue - luma) / (2 * (1 - kb))
    v = 128 + chroma_span * (red - luma) / (2 * (1 - kr))
    return offset + luma_span * luma, u, v


def _interpolated(plane: npt.NDArray[np.uint8], height: int, width: int) -> Reals:
    """Linear interpolation between the true positions of the samples: columns 0, 2, 4, ...; rows 0.5, 2.5, 4.5, ..."""
    columns = 2.0 * np.arange(plane.shape[1])
    rows = 2.0 * np.arange(plane.shape[0]) + 0.5
    wide = np.array([np.interp(np.arange(width), columns, line) for line in plane])
    return np.array([np.interp(np.arange(height), rows, line) for line in wide.T]).T


@each_colour
@pytest.mark.parametrize(("width", "height"), [(64, 48), (33, 70), (1, 1), (2, 3), (5, 2)])
def test_rgb_is_the_rounded_real_formula(colour: Colour, width: int, height: int) -> None:
    frame = random_frame(width, height, seed=width)
    u, v = (_interpolated(plane, height, width) for plane in (frame.u, frame.v))
    expected = np.clip(_real_rgb(frame.y.astype(float), u, v, colour), 0, 255)
    rgb = yuv_to_rgb(frame, colour)
    # Rounded to nearest, the factors of 20 bits apart.
    assert np.abs(rgb - expected).max() < 0.502


@each_colour
def test_rgb_agrees_with_zimg(colour: Colour) -> None:
    frame = random_frame(64, 48, seed=5)
    matrix = {"bt601": "170m", "bt709": "709", "bt2020": "2020_ncl"}[colour.matrix]
    zscale = f"zscale=min={matrix}:rin={colour.range}:cin=left:m=gbr:r=full:f=bilinear:d=none"
    tags = f"setparams=chroma_location=left:range={colour.range}"
    options = ["-v", "error", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "64x48", "-i", "-"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *options, "-vf", f"{tags},{zscale},format=gbrp", "-f", "rawvideo", "-"]
    planes = b"".join(plane.tobytes() for plane in (frame.y, frame.u, frame.v))
    raw = subprocess.run(command, input=planes, capture_output=True, check=True, timeout=60).stdout
    green, blue, red = np.frombuffer(raw, np.uint8).reshape(3, 48, 64)
    difference = np.abs(yuv_to_rgb(frame, colour).astype(int) - np.stack([red, green, blue], axis=-1))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001


@each_colour
def test_planes_are_the_rounded_real_formula(colour: Colour) -> None:
    rgb = np.random.default_rng(2).integers(0, 256, (31, 27, 3), dtype=np.uint8)
    frame = rgb_to_yuv(rgb, colour, Fraction(1, 3))
    expected_luma, _, _ = _real_yuv(rgb.astype(float), colour)
    rows = np.pad(rgb.astype(float), ((0, 1), (1, 1), (0, 0)), mode="edge")
    halves = (rows[0::2] + rows[1::2]) / 2
    smooth = (halves[:, 0:-1:2] + 2 * halves[:, 1::2] + halves[:, 2::2]) / 4
    _, expected_u, expected_v = _real_yuv(smooth, colour)
    assert frame.time == Fraction(1, 3)
    assert np.abs(frame.y - expected_luma).max() < 0.502
    assert np.abs(frame.u - expected_u).max() < 0.502
    assert np.abs(frame.v - expected_v).max() < 0.502
    np.testing.assert_array_equal(frame.y, rgb_to_luma(rgb, colour))


@each_colour
def test_grey_survives_the_round_trip(colour: Colour) -> None:
    greys = np.arange(256, dtype=np.uint8).reshape(16, 16)
    rgb = np.repeat(greys[..., np.newaxis], 3, axis=2)
    frame = rgb_to_yuv(rgb, colour, Fraction(0))
    assert (frame.u == 128).all()
    assert (frame.v == 128).all()
    back = yuv_to_rgb(frame, colour)
    # 256 levels go into the 220 of the limited range: there a grey stays grey, and moves by one level at most.
    tolerance = 0 if colour.range == "full" else 1
    assert (back[..., 0] == back[..., 1]).all()
    assert (back[..., 0] == back[..., 2]).all()
    assert np.abs(back.astype(int) - rgb).max() <= tolerance


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(COLOURS), st.tuples(*[st.integers(0, 255)] * 3))
def test_any_flat_colour_survives_the_round_trip_within_rounding(colour: Colour, level: tuple[int, int, int]) -> None:
    rgb = np.full((4, 6, 3), level, np.uint8)
    back = yuv_to_rgb(rgb_to_yuv(rgb, colour, Fraction(0)), colour)
    assert (back == back[0, 0]).all()
    # Half a level of U, V and Y each, times their largest factors.
    assert np.abs(back.astype(int) - rgb).max() <= 3


def test_frame_refuses_planes_that_do_not_fit() -> None:
    plane = np.zeros((4, 4), np.uint8)
    with pytest.raises(ValueError, match="4:2:0"):
        YuvFrame(y=plane, u=plane, v=plane, time=Fraction(0))


def test_cropped_frame_keeps_the_upper_left() -> None:
    frame = random_frame(10, 8)
    cropped = frame.cropped(width=7, height=5)
    np.testing.assert_array_equal(cropped.y, frame.y[:5, :7])
    np.testing.assert_array_equal(cropped.v, frame.v[:3, :4])


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


def test_lossless_stream_is_decoded_exactly(tmp_path: Path) -> None:
    picture = make_picture(width=90, height=50, scale=2, frame_count=3)
    frames = moving_frames(picture, [Fraction(number, 25) for number in range(3)])
    write_base_stream(tmp_path / "base.mp4", frames)
    for decoded, frame in zip(decode_video(tmp_path / "base.mp4"), frames, strict=True):
        np.testing.assert_array_equal(decoded.y, frame.y)
        np.testing.assert_array_equal(decoded.u, frame.u)
        np.testing.assert_array_equal(decoded.v, frame.v)


@pytest.mark.parametrize("first", [1, 5, 6, 7, 8, 13, 14, 20])
def test_decoding_from_a_frame_gives_the_same_frames(first: int, reordered_video: tuple[Path, list[Fraction]]) -> None:
    path, _ = reordered_video
    whole = list(decode_video(path))[first:]
    for frame, expected in zip(decode_video(path, first_frame=first), whole, strict=True):
        assert frame.time == expected.time
        np.testing.assert_array_equal(frame.y, expected.y)
        np.testing.assert_array_equal(frame.u, expected.u)


@pytest.mark.parametrize(
    "encoder",
    [
        ("libx265", "-tag:v", "hvc1", "-x265-params", "log-level=error:keyint=8"),
        ("libaom-av1", "-cpu-used", "8", "-g", "8"),
    ],
    ids=["hevc", "av1"],
)
def test_other_codecs_of_the_format_are_read(
    encoder: tuple[str, ...], reordered_video: tuple[Path, list[Fraction]]
) -> None:
    source, times = reordered_video
    path = source.with_name(f"{encoder[0]}.mp4")
    timing = ("-fps_mode", "passthrough", "-enc_time_base", "demux")
    fragments = ("-movflags", "+frag_keyframe+delay_moov")
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-v",
        "error",
        "-y",
        "-i",
        str(source),
        *timing,
        "-c:v",
        *encoder,
        *fragments,
    ]
    subprocess.run([*command, str(path)], check=True, timeout=60, capture_output=True)
    whole = list(decode_video(path))
    assert [frame.time for frame in whole] == times
    for first in (3, 10):
        for frame, expected in zip(decode_video(path, first_frame=first), whole[first:], strict=True):
            assert frame.time == expected.time
            np.testing.assert_array_equal(frame.y, expected.y)


def test_decoding_from_beyond_the_end_is_refused(reordered_video: tuple[Path, list[Fraction]]) -> None:
    path, _ = reordered_video
    with pytest.raises(FrameRangeError, match="21 frames"):
        next(decode_video(path, first_frame=21))


def test_stream_without_a_key_frame_is_refused(reordered_video: tuple[Path, list[Fraction]]) -> None:
    path, _ = reordered_video
    with open_base_stream(path) as container:
        stream = container.streams.video[0]
        packets = list(container.demux(stream))
        for packet in packets:
            packet.is_keyframe = False
        keyless = cast(InputContainer, SimpleNamespace(demux=lambda _: packets))
        with pytest.raises(VideoError, match="no key frame from which frame 3"):
            seek_frame(keyless, stream, 3)


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
