"""The plain filters."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as PillowImage

from stdo.bundle.codecs import BitDepth
from stdo.bundle.geometry import peak, sample_type
from stdo.decoder.frames import Plane
from stdo.decoder.resize import Filter, resize_frame, resize_plane
from tests.stdo.bundles import random_frame

FRACTION_BITS = {8: 22, 10: 20}


def _samples(height: int, width: int, bit_depth: BitDepth) -> Plane:
    return np.random.default_rng(0).integers(0, peak(bit_depth) + 1, (height, width)).astype(sample_type(bit_depth))


def _keys(t: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    t = np.abs(t)
    near, far = 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return np.where(t < 1, near, np.where(t < 2, far, 0))


def _lanczos(t: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(np.abs(t) < 3, np.sinc(t) * np.sinc(t / 3), 0)


@pytest.mark.parametrize("bit_depth", [8, 10])
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("name", "kernel"), [("bicubic", _keys), ("lanczos", _lanczos)])
def test_filters_are_those_of_the_format(scale: int, name: Filter, kernel: Any, bit_depth: BitDepth) -> None:
    bits = FRACTION_BITS[bit_depth]

    def matrix(count: int) -> npt.NDArray[np.int64]:
        centres = (np.arange(scale * count) + 0.5) / scale
        weights = kernel(np.arange(count) + 0.5 - centres[:, np.newaxis])
        integers: npt.NDArray[np.int64] = np.rint(weights / weights.sum(axis=1, keepdims=True) * 2**bits).astype(
            np.int64
        )
        return integers

    plane = _samples(70, 10, bit_depth)
    rows = np.clip((plane.astype(np.int64) @ matrix(10).T + 2 ** (bits - 1)) >> bits, 0, peak(bit_depth))
    expected = np.clip((matrix(70) @ rows + 2 ** (bits - 1)) >> bits, 0, peak(bit_depth))
    enlarged = resize_plane(plane, scale=scale, filter=name, bit_depth=bit_depth)
    assert enlarged.dtype == plane.dtype
    np.testing.assert_array_equal(enlarged, expected)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (33, 70), (3, 200)])
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", ["bicubic", "lanczos"])
def test_filters_are_those_of_pillow_at_eight_bits(name: Filter, scale: int, size: tuple[int, int]) -> None:
    plane = _samples(*size, 8)
    method = {"bicubic": PillowImage.Resampling.BICUBIC, "lanczos": PillowImage.Resampling.LANCZOS}[name]
    expected = PillowImage.fromarray(plane).resize((scale * size[1], scale * size[0]), method)
    np.testing.assert_array_equal(resize_plane(plane, scale=scale, filter=name, bit_depth=8), np.asarray(expected))


@pytest.mark.parametrize("name", ["bicubic", "lanczos"])
def test_extreme_samples_do_not_overflow(name: Filter) -> None:
    stripes = np.zeros((64, 64), np.uint16)
    stripes[:, ::2] = stripes[::2] = 1023
    assert resize_plane(stripes, scale=3, filter=name, bit_depth=10).max() == 1023
    white = np.full((40, 40), 1023, np.uint16)
    assert (resize_plane(white, scale=4, filter=name, bit_depth=10) == 1023).all()


def test_scale_one_leaves_a_plane_as_it_is() -> None:
    plane = _samples(5, 7, 10)
    assert resize_plane(plane, scale=1, filter="bicubic", bit_depth=10) is plane


@pytest.mark.parametrize("bit_depth", [8, 10])
def test_resizing_a_frame_enlarges_each_plane(bit_depth: BitDepth) -> None:
    frame = random_frame(20, 12, time=Fraction(7, 5), bit_depth=bit_depth)
    enlarged = resize_frame(frame, scale=3, filter="bicubic")
    assert (enlarged.time, enlarged.bit_depth) == (frame.time, bit_depth)
    assert enlarged.y.shape == (36, 60)
    np.testing.assert_array_equal(enlarged.u, resize_plane(frame.u, scale=3, filter="bicubic", bit_depth=bit_depth))
