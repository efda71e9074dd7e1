from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from stdo.bundle.geometry import make_patch_grid
from tests.workers.training.test_patches import PICTURE
from workers.delivery.heatmaps import draw_heatmap, patch_psnr


def test_patch_psnr_of_known_errors() -> None:
    psnr = patch_psnr(np.array([0, 1, 255**2], np.float32))
    assert psnr == pytest.approx([60, 48.1308, 0], abs=1e-3)


def test_a_heatmap_shows_each_patch_at_its_place_and_is_always_the_same(tmp_path: Path) -> None:
    grid = make_patch_grid(base_width=30, base_height=20, patch_width=15, patch_height=20, halo=0)
    rgb = np.full((38, 57, 3), 128, np.uint8)
    for name in ("a.png", "b.png"):
        draw_heatmap(
            tmp_path / name,
            title="f0, frame 7",
            rgb=rgb,
            psnr=np.array([20.0, 40.0]),
            limits=(20.0, 40.0),
            picture=PICTURE,
            grid=grid,
        )
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    pixels = np.asarray(PillowImage.open(tmp_path / "a.png").convert("RGB")).astype(int)
    height, width = pixels.shape[:2]
    left, right = pixels[height // 2, width // 5], pixels[height // 2, width * 3 // 5]
    # viridis: dark violet where the PSNR is low, yellow where it is high.
    assert left[2] > left[1]
    assert right[1] > right[2]
