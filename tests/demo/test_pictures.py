from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo.pictures import PatchErrors, draw_comparison, draw_f0_heatmaps, draw_restored_heatmaps
from demo.restoration import Comparison, Crop, View
from stdo.bundle.bundle import open_bundle
from stdo.bundle.manifest import Manifest
from tests.stdo.bundles import write_small_bundle

WIDTH, HEIGHT, FRAMES = 90, 58, 4
MARK = (255, 204, 0)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Patches that reach beyond an odd-shaped picture."""
    folder = write_small_bundle(tmp_path_factory.mktemp("bundle"), width=WIDTH, height=HEIGHT, patch=(16, 12))
    with open_bundle(folder) as bundle:
        return bundle.manifest


@pytest.fixture
def errors(manifest: Manifest) -> PatchErrors:
    patches = manifest.patch_grid.rows * manifest.patch_grid.columns
    f0 = np.random.default_rng(1).uniform(5, 500, (FRAMES, patches)).astype(np.float32)
    f0[0, 0] = 0  # A patch without any error, as in a black frame.
    return PatchErrors(f0=f0, restored=f0 / 2)


def test_errors_are_read_as_the_bundle_has_them(errors: PatchErrors, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "errors.npz", f0=errors.f0, restored=errors.restored)
    read = PatchErrors.read(tmp_path / "errors.npz")
    np.testing.assert_array_equal(read.f0, errors.f0)
    np.testing.assert_array_equal(read.restored, errors.restored)


def test_the_comparison_marks_its_crop(tmp_path: Path) -> None:
    comparison = Comparison(
        frame_number=7,
        crop=Crop(left=16, top=8, width=18, height=11),
        source=_grey(90),
        bicubic=_grey(110),
        restored=_grey(95),
    )
    draw_comparison(tmp_path / "comparison.png", comparison)
    pixels = np.asarray(Image.open(tmp_path / "comparison.png").convert("RGB"))
    for grey in (90, 110, 95):
        assert (pixels == grey).all(axis=2).mean() > 0.1
    marked = (np.abs(pixels.astype(int) - MARK) < 30).all(axis=2)
    assert 100 < marked.sum() < 0.02 * marked.size


def test_heatmaps_lie_over_the_frame(errors: PatchErrors, manifest: Manifest, tmp_path: Path) -> None:
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    draw_f0_heatmaps(tmp_path / "f0.png", errors, {0: image, 3: image}, manifest)
    draw_f0_heatmaps(tmp_path / "one.png", errors, {0: image}, manifest)
    draw_restored_heatmaps(tmp_path / "restored.png", errors, 2, image, manifest)
    for name, least_colours in (("f0.png", 12), ("one.png", 6), ("restored.png", 12)):
        pixels = np.asarray(Image.open(tmp_path / name).convert("RGB")).reshape(-1, 3)
        colours, counts = np.unique(pixels, axis=0, return_counts=True)
        saturated = np.ptp(colours.astype(int), axis=1) > 40
        # Each patch is one colour over many pixels.
        assert (saturated & (counts > 500)).sum() >= least_colours
    with Image.open(tmp_path / "f0.png") as two, Image.open(tmp_path / "one.png") as one:
        assert two.height > 1.6 * one.height


def _grey(level: int) -> View:
    return View(rgb=np.full((HEIGHT, WIDTH, 3), level, np.uint8), luma=np.full((HEIGHT, WIDTH), level, np.uint8))
