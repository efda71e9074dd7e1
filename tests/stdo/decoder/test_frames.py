"""Frames of 8 and 10 bits, and the conversion of their colour."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from itertools import product

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stdo.bundle.codecs import BitDepth
from stdo.bundle.geometry import peak, sample_type
from stdo.bundle.manifest import Colour
from stdo.decoder.frames import YuvFrame, plane_to_depth, rgb_to_luma, rgb_to_yuv, yuv_to_rgb
from tests.stdo.bundles import random_frame

LUMA_WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
COLOURS = [
    Colour.model_validate({"matrix": matrix, "range": value_range, "primaries": "unknown", "transfer": "unknown"})
    for matrix, value_range in product(LUMA_WEIGHTS, ("limited", "full"))
]
each_colour = pytest.mark.parametrize("colour", COLOURS, ids=lambda colour: f"{colour.matrix}-{colour.range}")
each_depth = pytest.mark.parametrize("bit_depth", [8, 10])
Reals = npt.NDArray[np.float64]


def _spans(colour: Colour, bit_depth: BitDepth) -> tuple[float, float, float]:
    unit = 2 ** (bit_depth - 8)
    return (16.0 * unit, 219.0 * unit, 224.0 * unit) if colour.range == "limited" else (0.0, *[peak(bit_depth)] * 2)


def _real_rgb(y: Reals, u: Reals, v: Reals, colour: Colour, bit_depth: BitDepth) -> Reals:
    """The equations of section 6 over real numbers."""
    kr, kb = LUMA_WEIGHTS[colour.matrix]
    offset, luma_span, chroma_span = _spans(colour, bit_depth)
    grey = 2 ** (bit_depth - 1)
    luma, cb, cr = (y - offset) / luma_span, (u - grey) / chroma_span, (v - grey) / chroma_span
    red, blue = luma + 2 * (1 - kr) * cr, luma + 2 * (1 - kb) * cb
    green = (luma - kr * red - kb * blue) / (1 - kr - kb)
    return np.stack([red, green, blue], axis=-1) * peak(bit_depth)


def _real_yuv(rgb: Reals, colour: Colour, bit_depth: BitDepth) -> tuple[Reals, Reals, Reals]:
    kr, kb = LUMA_WEIGHTS[colour.matrix]
    offset, luma_span, chroma_span = _spans(colour, bit_depth)
    grey = 2 ** (bit_depth - 1)
    red, green, blue = np.moveaxis(rgb / peak(bit_depth), -1, 0)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    u = grey + chroma_span * (blue - luma) / (2 * (1 - kb))
    v = grey + chroma_span * (red - luma) / (2 * (1 - kr))
    return offset + luma_span * luma, u, v


def _interpolated(plane: npt.NDArray[np.uint8 | np.uint16], height: int, width: int) -> Reals:
    """Linear interpolation between the true positions of the samples: columns 0, 2, 4, ...; rows 0.5, 2.5, 4.5, ..."""
    columns = 2.0 * np.arange(plane.shape[1])
    rows = 2.0 * np.arange(plane.shape[0]) + 0.5
    wide = np.array([np.interp(np.arange(width), columns, line) for line in plane])
    return np.array([np.interp(np.arange(height), rows, line) for line in wide.T]).T


@each_colour
@each_depth
@pytest.mark.parametrize(("width", "height"), [(64, 48), (33, 70), (1, 1), (2, 3), (5, 2)])
def test_rgb_is_the_rounded_real_formula(colour: Colour, bit_depth: BitDepth, width: int, height: int) -> None:
    frame = random_frame(width, height, seed=width, bit_depth=bit_depth)
    u, v = (_interpolated(plane, height, width) for plane in (frame.u, frame.v))
    expected = np.clip(_real_rgb(frame.y.astype(float), u, v, colour, bit_depth), 0, peak(bit_depth))
    rgb = yuv_to_rgb(frame, colour)
    assert rgb.dtype == sample_type(bit_depth)
    # Rounded to nearest, the factors of 20 bits apart.
    assert np.abs(rgb - expected).max() < (0.502 if bit_depth == 8 else 0.52)


@each_colour
@each_depth
def test_most_extreme_samples_do_not_overflow(colour: Colour, bit_depth: BitDepth) -> None:
    """Sums at ten bits exceed 32 bits, unless the middle is taken off first."""
    ends = [0, peak(bit_depth)]
    for y, u, v in product(ends, ends, ends):
        planes = [
            np.full(shape, level, sample_type(bit_depth)) for shape, level in (((2, 2), y), ((1, 1), u), ((1, 1), v))
        ]
        frame = YuvFrame(y=planes[0], u=planes[1], v=planes[2], time=Fraction(0), bit_depth=bit_depth)
        real = _real_rgb(*(np.array([[float(level)]]) for level in (y, u, v)), colour, bit_depth)
        assert np.abs(yuv_to_rgb(frame, colour)[0, 0] - np.clip(real[0, 0], 0, peak(bit_depth))).max() < 0.6


@each_colour
@each_depth
def test_rgb_agrees_with_zimg(colour: Colour, bit_depth: BitDepth) -> None:
    frame = random_frame(64, 48, seed=5, bit_depth=bit_depth)
    matrix = {"bt601": "170m", "bt709": "709", "bt2020": "2020_ncl"}[colour.matrix]
    source, target = ("yuv420p", "gbrp") if bit_depth == 8 else ("yuv420p10le", "gbrp10le")
    zscale = f"zscale=min={matrix}:rin={colour.range}:cin=left:m=gbr:r=full:f=bilinear:d=none"
    tags = f"setparams=chroma_location=left:range={colour.range}"
    options = ["-v", "error", "-f", "rawvideo", "-pix_fmt", source, "-s", "64x48", "-i", "-"]
    filters = ["-vf", f"{tags},{zscale},format={target}", "-f", "rawvideo", "-"]
    planes = b"".join(plane.tobytes() for plane in (frame.y, frame.u, frame.v))
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *options, *filters]
    raw = subprocess.run(command, input=planes, capture_output=True, check=True, timeout=60).stdout
    green, blue, red = np.frombuffer(raw, sample_type(bit_depth)).reshape(3, 48, 64)
    difference = np.abs(yuv_to_rgb(frame, colour).astype(int) - np.stack([red, green, blue], axis=-1))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


@each_colour
@each_depth
def test_planes_are_the_rounded_real_formula(colour: Colour, bit_depth: BitDepth) -> None:
    kind = sample_type(bit_depth)
    rgb = np.random.default_rng(2).integers(0, peak(bit_depth) + 1, (31, 27, 3)).astype(kind)
    frame = rgb_to_yuv(rgb, colour, Fraction(1, 3), bit_depth=bit_depth)
    expected_luma, _, _ = _real_yuv(rgb.astype(float), colour, bit_depth)
    rows = np.pad(rgb.astype(float), ((0, 1), (1, 1), (0, 0)), mode="edge")
    halves = (rows[0::2] + rows[1::2]) / 2
    smooth = (halves[:, 0:-1:2] + 2 * halves[:, 1::2] + halves[:, 2::2]) / 4
    _, expected_u, expected_v = _real_yuv(smooth, colour, bit_depth)
    assert (frame.time, frame.bit_depth) == (Fraction(1, 3), bit_depth)
    for plane, expected in ((frame.y, expected_luma), (frame.u, expected_u), (frame.v, expected_v)):
        assert plane.dtype == kind
        assert np.abs(plane - expected).max() < 0.51
    np.testing.assert_array_equal(frame.y, rgb_to_luma(rgb, colour, bit_depth=bit_depth))


@each_colour
@each_depth
def test_grey_survives_the_round_trip(colour: Colour, bit_depth: BitDepth) -> None:
    greys = np.arange(1 << bit_depth).astype(sample_type(bit_depth)).reshape(16, -1)
    rgb = np.repeat(greys[..., np.newaxis], 3, axis=2)
    frame = rgb_to_yuv(rgb, colour, Fraction(0), bit_depth=bit_depth)
    assert (frame.u == 1 << (bit_depth - 1)).all()
    assert (frame.v == 1 << (bit_depth - 1)).all()
    back = yuv_to_rgb(frame, colour)
    # All levels go into six sevenths of them in the limited range: there a grey stays grey, and moves by one at most.
    tolerance = 0 if colour.range == "full" else 1
    assert (back[..., 0] == back[..., 1]).all()
    assert (back[..., 0] == back[..., 2]).all()
    assert np.abs(back.astype(int) - rgb).max() <= tolerance


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(COLOURS), st.sampled_from([8, 10]), st.tuples(*[st.floats(0, 1)] * 3))
def test_any_flat_colour_survives_the_round_trip_within_rounding(
    colour: Colour, bit_depth: BitDepth, level: tuple[float, float, float]
) -> None:
    rgb = np.full((4, 6, 3), np.rint(np.array(level) * peak(bit_depth)), sample_type(bit_depth))
    back = yuv_to_rgb(rgb_to_yuv(rgb, colour, Fraction(0), bit_depth=bit_depth), colour)
    assert (back == back[0, 0]).all()
    # Half a level of U, V and Y each, times their largest factors.
    assert np.abs(back.astype(int) - rgb).max() <= 3


def test_frame_refuses_planes_that_do_not_fit() -> None:
    plane, quarter = np.zeros((4, 4), np.uint8), np.zeros((2, 2), np.uint8)
    with pytest.raises(ValueError, match="4:2:0"):
        YuvFrame(y=plane, u=plane, v=plane, time=Fraction(0))
    with pytest.raises(ValueError, match="samples of 10 bits"):
        YuvFrame(y=plane, u=quarter, v=quarter, time=Fraction(0), bit_depth=10)


@each_depth
def test_cropped_frame_keeps_the_upper_left(bit_depth: BitDepth) -> None:
    frame = random_frame(10, 8, bit_depth=bit_depth)
    cropped = frame.cropped(width=7, height=5)
    np.testing.assert_array_equal(cropped.y, frame.y[:5, :7])
    np.testing.assert_array_equal(cropped.v, frame.v[:3, :4])
    assert cropped.bit_depth == bit_depth


def test_ten_bits_are_rounded_to_eight_half_up() -> None:
    samples = np.arange(1024, dtype=np.uint16).reshape(32, 32)
    eight = plane_to_depth(samples, bit_depth=10, wanted=8)
    assert eight.dtype == np.uint8
    np.testing.assert_array_equal(eight, np.minimum(np.floor(samples / 4 + 0.5), 255))
    assert eight.reshape(-1)[[0, 1, 2, 5, 6, 1017, 1018, 1023]].tolist() == [0, 0, 1, 1, 2, 254, 255, 255]


def test_depth_of_a_frame_there_and_back() -> None:
    frame = random_frame(9, 7, time=Fraction(3, 7))
    ten = frame.to_depth(10)
    assert (ten.bit_depth, ten.time, ten.y.dtype) == (10, Fraction(3, 7), np.uint16)
    np.testing.assert_array_equal(ten.y, 4 * frame.y.astype(int))
    back = ten.to_depth(8)
    for plane, expected in ((back.y, frame.y), (back.u, frame.u), (back.v, frame.v)):
        np.testing.assert_array_equal(plane, expected)
    assert frame.to_depth(8) is frame
