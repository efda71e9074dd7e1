"""The judge's figures are PSNR as anyone would work it out by hand."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pretraining.evaluate import judge, judged_pairs, luma, restore
from pretraining.pairs import PicturePair
from pretraining.photographs import Photograph, RgbImage


class _Nearest(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(x, scale_factor=2, mode="nearest")


def _pair(low_res: RgbImage, *, error: int) -> PicturePair:
    high_res = low_res.repeat(2, axis=0).repeat(2, axis=1)
    return PicturePair(low_res=low_res, high_res=high_res + np.uint8(error))


def test_luma_has_the_limited_range_of_bt709() -> None:
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert luma(colours).tolist() == [[16, 235, 63, 173, 32]]


def test_restore_keeps_every_pixel_of_the_picture() -> None:
    low_res = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    np.testing.assert_array_equal(restore(_Nearest(), low_res, scale=2), low_res.repeat(2, axis=0).repeat(2, axis=1))


def test_psnr_is_pooled_over_pixels_and_averaged_over_pictures() -> None:
    random = np.random.default_rng(0)
    small = _pair(random.integers(0, 200, (10, 10, 3), dtype=np.uint8), error=2)
    large = _pair(random.integers(0, 200, (30, 10, 3), dtype=np.uint8), error=10)
    quality = judge(_Nearest(), [small, large], scale=2)
    pooled = (4 * 1 + 100 * 3) / 4
    assert quality.rgb.pooled == pytest.approx(10 * math.log10(255**2 / pooled))
    mean = (10 * math.log10(255**2 / 4) + 10 * math.log10(255**2 / 100)) / 2
    assert quality.rgb.mean == pytest.approx(mean)


def test_judged_pairs_show_the_same_pictures_clean_and_coded() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 83, 3), dtype=np.uint8)
    photograph = Photograph(name="noise", pixels=pixels)
    (clean,) = judged_pairs([photograph], scale=2, crf=None)
    (coded,) = judged_pairs([photograph], scale=2, crf=28)
    np.testing.assert_array_equal(clean.high_res, coded.high_res)
    assert clean.high_res.shape == (56, 80, 3)
    assert clean.low_res.shape == coded.low_res.shape == (28, 40, 3)
    assert judge(None, [coded], scale=2).y.pooled < judge(None, [clean], scale=2).y.pooled
