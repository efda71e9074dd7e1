"""The views of a restored frame."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from stdo.decoder.frames import rgb_to_luma, rgb_to_yuv, yuv_to_rgb
from stdo.decoder.restored_frame import RestoredFrame
from tests.stdo.bundles import BT709, random_frame


def test_views_of_a_frame_from_rgb() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    frame = RestoredFrame(time=Fraction(1, 7), colour=BT709, restored_rgb=rgb)
    assert frame.rgb is rgb
    np.testing.assert_array_equal(frame.luma, rgb_to_luma(rgb, BT709))
    np.testing.assert_array_equal(frame.yuv.u, rgb_to_yuv(rgb, BT709, frame.time).u)
    assert frame.yuv.time == Fraction(1, 7)


def test_views_of_a_frame_from_planes() -> None:
    planes = random_frame(7, 9)
    frame = RestoredFrame(time=Fraction(1, 7), colour=BT709, restored_yuv=planes)
    assert frame.yuv is planes
    assert frame.luma is planes.y
    np.testing.assert_array_equal(frame.rgb, yuv_to_rgb(planes, BT709))


def test_frame_is_made_from_one_of_both() -> None:
    planes, rgb = random_frame(4, 4), np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match="either"):
        RestoredFrame(time=Fraction(0), colour=BT709)
    with pytest.raises(ValueError, match="either"):
        RestoredFrame(time=Fraction(0), colour=BT709, restored_rgb=rgb, restored_yuv=planes)
