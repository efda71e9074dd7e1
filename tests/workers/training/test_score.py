from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.general import load_general_network
from stdo.bundle.geometry import extract_patches, patch_boxes
from stdo.decoder.frames import yuv_to_rgb
from stdo.quality.psnr import patch_pixel_counts
from tests.clips import LOSSLESS, ClipMaker
from tests.workers.pipeline_runs import Reports, encoded_base_stream, settings_of
from workers.base_stream.frame_pairs import VideoFiles, patch_grid
from workers.training.score import PatchScores, score_patches

CPU = torch.device("cpu")
SETTINGS = settings_of({"patches": {"width": 14, "height": 20, "halo": 1}})


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> VideoFiles:
    """57x39, so that the picture ends within patches, and a row of patches lies beyond it."""
    folder = tmp_path_factory.mktemp("score")
    clip = ClipMaker(folder).make("odd.mkv", *LOSSLESS, size="64x48", frames=3, filters="format=yuv444p,crop=57:39")
    return encoded_base_stream(clip, folder, SETTINGS)


@pytest.fixture(scope="module")
def scores(video: VideoFiles) -> PatchScores:
    return score_patches(video, SETTINGS, device=CPU, report=Reports())


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_the_scores_do_not_depend_on_the_batch_size(video: VideoFiles, scores: PatchScores, batch_size: int) -> None:
    other = score_patches(video, SETTINGS, device=CPU, report=Reports(), batch_size=batch_size)
    assert np.array_equal(other.mse, scores.mse)
    assert other.f0_frames == scores.f0_frames


def test_a_score_is_the_error_of_f0_with_halo_4_over_the_patchs_pixels_in_the_picture(
    video: VideoFiles, scores: PatchScores
) -> None:
    picture = video.info.picture(2)
    assert (picture.base_width, picture.base_height) == (30, 20)
    grid = patch_grid(picture, SETTINGS, halo=4)
    network = load_general_network("espcn", scale=2, channels="rgb")
    for pair in video.frame_pairs(picture):
        source = yuv_to_rgb(pair.source.cropped(width=57, height=39), picture.colour).astype(int)
        patches = extract_patches(yuv_to_rgb(pair.base, picture.colour), grid)
        with torch.inference_mode():
            output = network(torch.from_numpy(patches).permute(0, 3, 1, 2) / 255).permute(0, 2, 3, 1).numpy()
        restored = np.clip(np.floor(output * 255 + 0.5), 0, 255)[:, 8:-8, 8:-8]
        for place, box in enumerate(patch_boxes(grid, base_width=30, base_height=20)):
            wanted = source[2 * box.top : 2 * box.top + 40, 2 * box.left : 2 * box.left + 28]
            error = np.square(restored[place][: wanted.shape[0], : wanted.shape[1]] - wanted).mean()
            # A level may be rounded the other way where the sums were added up in another order.
            assert scores.mse[pair.number, place] == pytest.approx(error, rel=2e-3)


def test_patch_and_frame_errors_are_of_the_same_pixels(video: VideoFiles, scores: PatchScores) -> None:
    picture = video.info.picture(2)
    samples = 3 * patch_pixel_counts(picture, patch_grid(picture, SETTINGS))
    assert samples.sum() == 3 * 57 * 39
    assert (scores.mse.astype(float) @ samples) == pytest.approx([f.rgb_squared_error for f in scores.f0_frames])


def test_patches_beyond_the_picture_have_no_error(tmp_path: Path) -> None:
    settings = settings_of({"patches": {"width": 29, "height": 20}})
    clip = ClipMaker(tmp_path).make("odd.mkv", *LOSSLESS, size="64x48", frames=1, filters="format=yuv444p,crop=57:39")
    mse = score_patches(encoded_base_stream(clip, tmp_path, settings), settings, device=CPU, report=Reports()).mse
    # The second column begins at low-resolution pixel 29, which is 58 of 57.
    assert mse.shape == (1, 2)
    assert mse[0, 0] > 0
    assert mse[0, 1] == 0


def test_progress_counts_frames(video: VideoFiles) -> None:
    reports = Reports()
    score_patches(video, SETTINGS, device=CPU, report=reports)
    assert reports.seen == [("score", done, 3, "frames") for done in (1, 2, 3)]


def test_scores_survive_their_file(scores: PatchScores, tmp_path: Path) -> None:
    scores.save(tmp_path / "scores.npz")
    loaded = PatchScores.load(tmp_path / "scores.npz")
    assert loaded.mse.dtype == np.float32
    assert np.array_equal(loaded.mse, scores.mse)
    assert loaded.f0_frames == scores.f0_frames
