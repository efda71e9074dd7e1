"""A pair shows one and the same thing twice; a patch's low-resolution side has a halo that its other side lacks."""

import numpy as np
import pytest

from models.general import GENERAL_NETWORK_HALO
from pretraining.degradation import enlarge_bicubic
from pretraining.evaluate import judge
from pretraining.pairs import PatchSampler, PicturePair, clean_pairs, coded_pairs
from pretraining.photographs import Photograph, RgbImage


def _photograph(*, height: int, width: int) -> Photograph:
    """Smooth coloured waves: no two places look alike, and reducing loses little."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(rows / 9 + columns / 23), np.sin(columns / 11 + rows * columns / 9000), np.cos(rows / 17)]
    return Photograph(name="waves", pixels=(128 + 100 * np.stack(waves, axis=-1)).astype(np.uint8))


def _shifted(picture: RgbImage, *, rows: int) -> RgbImage:
    return np.roll(picture, rows, axis=0)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_clean_pairs_are_aligned(scale: int) -> None:
    (pair,) = clean_pairs([_photograph(height=203, width=250)], scale=scale)
    assert pair.high_res.shape == (203 // scale * scale, 250 // scale * scale, 3)
    assert pair.low_res.shape == (203 // scale, 250 // scale, 3)
    aligned = judge(None, [pair], scale=scale).y.pooled
    for rows in (-1, 1):
        shifted = PicturePair(low_res=pair.low_res, high_res=_shifted(pair.high_res, rows=rows))
        assert aligned > 6 + judge(None, [shifted], scale=scale).y.pooled


@pytest.mark.parametrize("scale", [2, 3])
def test_coded_pairs_are_aligned_and_lossy(scale: int) -> None:
    random = np.random.default_rng(4)
    pairs = list(coded_pairs([_photograph(height=210, width=240)], scale=scale, clips_per_photograph=3, random=random))
    assert len(pairs) == 6
    assert len({pair.low_res.tobytes() for pair in pairs}) == 6
    for pair in pairs:
        height, width = pair.low_res.shape[:2]
        assert height % 2 == width % 2 == 0
        assert pair.high_res.shape == (scale * height, scale * width, 3)
        enlarged = enlarge_bicubic(pair.low_res, scale=scale)
        assert np.corrcoef(enlarged.ravel(), pair.high_res.ravel())[0, 1] > 0.98
        aligned = judge(None, [pair], scale=scale).y.pooled
        (clean,) = clean_pairs([Photograph(name="window", pixels=pair.high_res)], scale=scale)
        assert aligned < judge(None, [clean], scale=scale).y.pooled
        for rows in (-2, 2):
            shifted = PicturePair(low_res=pair.low_res, high_res=_shifted(pair.high_res, rows=rows))
            assert aligned > judge(None, [shifted], scale=scale).y.pooled


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_patches_match_their_low_resolution_interior(scale: int) -> None:
    # Each low-resolution pixel repeated gives a pair where every interior pixel must be found again exactly.
    random = np.random.default_rng(2)
    low_res = random.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    pair = PicturePair(low_res=low_res, high_res=low_res.repeat(scale, axis=0).repeat(scale, axis=1))
    sampler = PatchSampler(
        clean=[pair], coded=[], clean_share=1.0, scale=scale, lr_patch=12, candidates=1, random=random
    )
    batch = sampler.draw(64)
    assert batch.low_res.shape == (64, 3, 12 + 2 * GENERAL_NETWORK_HALO, 12 + 2 * GENERAL_NETWORK_HALO)
    assert batch.high_res.shape == (64, 3, 12 * scale, 12 * scale)
    inside = slice(GENERAL_NETWORK_HALO, -GENERAL_NETWORK_HALO)
    interior = batch.low_res[..., inside, inside]
    np.testing.assert_array_equal(batch.high_res, interior.repeat(scale, axis=2).repeat(scale, axis=3))
    # All eight symmetries occur: the patches of one picture are not all found in it the same way up.
    upright = sum(_occurs(patch.transpose(1, 2, 0), low_res) for patch in batch.low_res)
    assert 0 < upright < 32


def _occurs(patch: RgbImage, picture: RgbImage) -> bool:
    height, width = patch.shape[:2]
    return any(
        np.array_equal(patch, picture[top : top + height, left : left + width])
        for top in range(picture.shape[0] - height + 1)
        for left in range(picture.shape[1] - width + 1)
    )


def test_clean_share_is_the_share_of_patches_from_clean_pictures() -> None:
    dark = PicturePair(low_res=np.zeros((40, 40, 3), np.uint8), high_res=np.zeros((80, 80, 3), np.uint8))
    bright = PicturePair(low_res=dark.low_res + 255, high_res=dark.high_res + 255)
    sampler = PatchSampler(
        clean=[dark],
        coded=[bright, bright, bright],
        clean_share=0.6,
        scale=2,
        lr_patch=8,
        candidates=1,
        random=np.random.default_rng(0),
    )
    batch = sampler.draw(2000)
    assert (batch.low_res[:, 0, 0, 0] == 0).mean() == pytest.approx(0.6, abs=0.04)


def test_the_candidate_with_most_detail_is_taken() -> None:
    half_flat = np.zeros((60, 120, 3), np.uint8)
    half_flat[:, 60:] = np.random.default_rng(1).integers(0, 256, (60, 60, 3))
    pair = PicturePair(low_res=half_flat, high_res=half_flat.repeat(2, axis=0).repeat(2, axis=1))

    def share_of_flat_patches(candidates: int) -> float:
        sampler = PatchSampler(
            clean=[pair],
            coded=[],
            clean_share=1.0,
            scale=2,
            lr_patch=8,
            candidates=candidates,
            random=np.random.default_rng(0),
        )
        return float((sampler.draw(400).high_res.reshape(400, -1).max(axis=1) == 0).mean())

    assert share_of_flat_patches(1) > 0.35
    assert share_of_flat_patches(3) < 0.15
