"""The views of a restored frame."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from stdo.bundle.codecs import BitDepth
from stdo.bundle.geometry import peak, sample_type
from stdo.decoder.frames import rgb_to_luma, rgb_to_yuv, yuv_to_rgb
from stdo.decoder.restored_frame import RestoredFrame
from tests.stdo.bundles import BT709, random_frame

each_depth = pytest.mark.parametrize("bit_depth", [8, 10])


@each_depth
def test_views_of_a_frame_from_rgb(bit_depth: BitDepth) -> None:
    rgb = np.random.default_rng(0).integers(0, peak(bit_depth) + 1, (9, 7, 3)).astype(sample_type(bit_depth))
    frame = RestoredFrame(time=Fraction(1, 7), colour=BT709, bit_depth=bit_depth, restored_rgb=rgb)
    assert frame.rgb is rgb
    np.testing.assert_array_equal(frame.luma, rgb_to_luma(rgb, BT709, bit_depth=bit_depth))
    np.testing.assert_array_equal(frame.yuv.u, rgb_to_yuv(rgb, BT709, frame.time, bit_depth=bit_depth).u)
    assert (frame.yuv.time, frame.yuv.bit_depth) == (Fraction(1, 7), bit_depth)


@each_depth
def test_views_of_a_frame_from_planes(bit_depth: BitDepth) -> None:
    planes = random_frame(7, 9, bit_depth=bit_depth)
    frame = RestoredFrame(time=Fraction(1, 7), colour=BT709, bit_depth=bit_depth, restored_yuv=planes)
    assert frame.yuv is planes
    assert frame.luma is planes.y
    np.testing.assert_array_equal(frame.rgb, yuv_to_rgb(planes, BT709))


def test_frame_is_made_from_one_of_both() -> None:
    planes, rgb = random_frame(4, 4), np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match="either"):
        RestoredFrame(time=Fraction(0), colour=BT709, bit_depth=8)
    with pytest.raises(ValueError, match="either"):
        RestoredFrame(time=Fraction(0), colour=BT709, bit_depth=8, restored_rgb=rgb, restored_yuv=planes)
    with pytest.raises(ValueError, match="planes of 8 bits in a frame of 10"):
        RestoredFrame(time=Fraction(0), colour=BT709, bit_depth=10, restored_yuv=planes)
