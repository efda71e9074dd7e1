from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.encoding_settings import EncodingSettings
from core.presets import resolve_settings
from models.general import load_general_network
from stdo.bundle.codecs import BitDepth
from stdo.bundle.geometry import extract_patches, patch_boxes, peak
from stdo.decoder.frames import yuv_to_rgb
from stdo.quality.psnr import patch_pixel_counts
from stdo.service.resources import ProgressUnit, Stage
from tests.workers.training.synthetic import COLOUR, layout_of, silent, synthetic_video
from workers.base_stream.frame_pairs import VideoFiles
from workers.base_stream.patch_limits import check_patch_count
from workers.errors import TooManyPatchesError
from workers.training.score import PatchScores, score_patches

CPU = torch.device("cpu")


def settings_of(**overrides: Any) -> EncodingSettings:
    return resolve_settings("fast", {"patches": {"width": 14, "height": 20, "halo": 1}, **overrides})


SETTINGS = settings_of()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> VideoFiles:
    """57x39, so that the picture ends within patches."""
    return synthetic_video(tmp_path_factory.mktemp("score"), SETTINGS, frames=3)


@pytest.fixture(scope="module")
def scores(video: VideoFiles) -> PatchScores:
    return score_patches(video, SETTINGS, device=CPU, report=silent)


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_the_scores_hardly_depend_on_the_batch_size(video: VideoFiles, scores: PatchScores, batch_size: int) -> None:
    other = score_patches(video, SETTINGS, device=CPU, report=silent, batch_size=batch_size)
    assert other.mse == pytest.approx(scores.mse, rel=1e-3)
    assert other.f0_frames.ssim_luma == pytest.approx(scores.f0_frames.ssim_luma, abs=1e-4)


def test_the_scores_are_the_same_every_time(video: VideoFiles, scores: PatchScores) -> None:
    assert np.array_equal(score_patches(video, SETTINGS, device=CPU, report=silent).mse, scores.mse)


@pytest.mark.parametrize(("base_bit_depth", "bit_depth"), [(8, 8), (10, 8), (10, 10)])
def test_a_score_is_the_error_of_f0_with_halo_4_over_the_patchs_pixels_in_the_picture(
    tmp_path: Path, base_bit_depth: BitDepth, bit_depth: BitDepth
) -> None:
    video = synthetic_video(tmp_path, SETTINGS, frames=3, base_bit_depth=base_bit_depth, bit_depth=bit_depth)
    scores = score_patches(video, SETTINGS, device=CPU, report=silent)
    layout, top = video.layout, peak(bit_depth)
    assert layout.grid is not None
    assert (layout.picture.base_width, layout.picture.base_height) == (30, 20)
    grid = layout.grid.model_copy(update={"halo": 4})
    network = load_general_network("espcn", scale=2, channels="rgb")
    for pair in video.frame_pairs():
        source = yuv_to_rgb(pair.source.cropped(width=57, height=39), COLOUR).astype(int)
        patches = extract_patches(yuv_to_rgb(pair.base, COLOUR), grid) / peak(base_bit_depth)
        with torch.inference_mode():
            output = network(torch.from_numpy(patches).permute(0, 3, 1, 2).float()).permute(0, 2, 3, 1).numpy()
        restored = np.clip(np.floor(output * top + 0.5), 0, top)[:, 8:-8, 8:-8]
        for place, box in enumerate(patch_boxes(grid, base_width=30, base_height=20)):
            wanted = source[2 * box.top : 2 * box.top + 40, 2 * box.left : 2 * box.left + 28]
            error = np.square(restored[place][: wanted.shape[0], : wanted.shape[1]] - wanted).mean()
            # A level may be rounded the other way where the sums were added up in another order.
            assert scores.mse[pair.number, place] == pytest.approx(error, rel=2e-3)


@pytest.mark.parametrize(("base_bit_depth", "bit_depth"), [(8, 8), (10, 8), (10, 10)])
def test_at_scale_1_the_score_is_the_error_of_the_decoded_picture(
    tmp_path: Path, base_bit_depth: BitDepth, bit_depth: BitDepth, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("no network runs at scale 1")

    monkeypatch.setattr("workers.training.score.load_general_network", refuse)
    settings = settings_of(scale=1)
    video = synthetic_video(tmp_path, settings, frames=2, base_bit_depth=base_bit_depth, bit_depth=bit_depth)
    scores = score_patches(video, settings, device=CPU, report=silent)
    for pair in video.frame_pairs():
        source, decoded = (
            yuv_to_rgb(frame.to_depth(bit_depth).cropped(width=57, height=39), COLOUR).astype(int)
            for frame in (pair.source, pair.base)
        )
        assert scores.f0_frames.rgb_squared_error[pair.number] == np.square(source - decoded).sum()
        assert scores.mse[pair.number, 0] == pytest.approx(np.square(source - decoded)[:20, :14].mean())


def test_patch_and_frame_errors_are_of_the_same_pixels(video: VideoFiles, scores: PatchScores) -> None:
    samples = 3 * patch_pixel_counts(video.layout)
    assert samples.sum() == 3 * 57 * 39
    assert (scores.mse.astype(float) @ samples) == pytest.approx(scores.f0_frames.rgb_squared_error)


def test_patches_beyond_the_picture_have_no_error(tmp_path: Path) -> None:
    settings = settings_of(patches={"width": 29, "height": 20})
    mse = score_patches(synthetic_video(tmp_path, settings, frames=1), settings, device=CPU, report=silent).mse
    # The second column begins at pixel 29 of the base frame, which is 58 of 57.
    assert mse.shape == (1, 2)
    assert mse[0, 0] > 0
    assert mse[0, 1] == 0


def test_progress_counts_frames(video: VideoFiles) -> None:
    seen: list[tuple[Stage, int, int, ProgressUnit]] = []

    def report(stage: Stage, done: int, total: int, unit: ProgressUnit) -> None:
        seen.append((stage, done, total, unit))

    score_patches(video, SETTINGS, device=CPU, report=report)
    assert seen == [("score", done, 3, "frames") for done in (1, 2, 3)]


def test_scores_survive_their_file(scores: PatchScores, tmp_path: Path) -> None:
    scores.save(tmp_path / "scores.npz")
    loaded = PatchScores.load(tmp_path / "scores.npz")
    assert loaded.mse.dtype == np.float32
    assert np.array_equal(loaded.mse, scores.mse)
    assert np.array_equal(loaded.f0_frames.rgb_squared_error, scores.f0_frames.rgb_squared_error)
    assert np.array_equal(loaded.f0_frames.ssim_luma, scores.f0_frames.ssim_luma)


def test_more_patches_than_fit_are_refused_before_anything_is_encoded() -> None:
    small = settings_of(patches={"width": 8, "height": 8})
    # 4096x2304 at scale 2: 256 x 144 patches a frame.
    layout = layout_of(small, (4096, 2304), 5000)
    check_patch_count(layout, range(0, 5000, 1000))
    with pytest.raises(TooManyPatchesError, match=r"make 73728000 in its longest segment.* at most 67108864\. Ask"):
        check_patch_count(layout, [0, 1000, 3000])
    longer = layout_of(small, (4096, 2304), 6000)
    with pytest.raises(TooManyPatchesError, match=r"8x8 pixels make 221184000 in all frames.* at most 200000000\."):
        check_patch_count(longer, range(0, 6000, 1000))
