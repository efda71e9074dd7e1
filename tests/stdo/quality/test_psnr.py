"""PSNR: exact sums, against FFmpeg's own filter, and the paper's definition."""

from __future__ import annotations

import re
import subprocess
from fractions import Fraction
from math import log10
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stdo.bundle.manifest import Scale
from stdo.decoder.frames import YuvFrame, yuv_to_rgb
from stdo.decoder.restored_frame import RestoredFrame
from stdo.quality.psnr import QualityMeter, ReferenceFrame, patch_pixel_counts, patch_squared_error, psnr, squared_error
from tests.stdo.bundles import BT709, make_grid, make_picture, random_frame


def _reference(width: int, height: int, seed: int) -> ReferenceFrame:
    return ReferenceFrame(frame=random_frame(width, height, seed=seed), colour=BT709)


def _near(frame: YuvFrame, *, seed: int, strength: int) -> YuvFrame:
    random = np.random.default_rng(seed)

    def noisy(plane: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        noise = random.integers(-strength, strength + 1, plane.shape)
        result: npt.NDArray[np.uint8] = np.clip(plane + noise, 0, 255).astype(np.uint8)
        return result

    return YuvFrame(y=noisy(frame.y), u=noisy(frame.u), v=noisy(frame.v), time=frame.time)


def _restored(frame: YuvFrame) -> RestoredFrame:
    return RestoredFrame(time=frame.time, colour=BT709, restored_yuv=frame)


def _write_raw(path: Path, frames: list[YuvFrame]) -> Path:
    path.write_bytes(b"".join(plane.tobytes() for frame in frames for plane in (frame.y, frame.u, frame.v)))
    return path


def test_luma_psnr_is_that_of_ffmpeg(tmp_path: Path) -> None:
    width, height = 70, 46
    picture = make_picture(width=width, height=height, scale=2, frame_count=3)
    meter = QualityMeter(picture=picture, grid=make_grid(picture, width=9, height=7, halo=0))
    references = [_reference(width, height, seed) for seed in range(3)]
    restored = [
        _near(reference.frame, seed=number, strength=3 + 9 * number) for number, reference in enumerate(references)
    ]
    for reference, frame in zip(references, restored, strict=True):
        meter.add(reference, _restored(frame))
    inputs = []
    for name, frames in (("restored", restored), ("reference", [reference.frame for reference in references])):
        path = _write_raw(tmp_path / name, frames)
        inputs += ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}", "-i", str(path)]
    statistics = tmp_path / "psnr.txt"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *inputs, "-lavfi", f"psnr=stats_file={statistics}", "-f", "null", "-"]
    log = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stderr
    pooled = float(re.search(r"PSNR y:([\d.]+)", log)[1])  # type: ignore[index]
    frame_figures = [float(figure) for figure in re.findall(r"psnr_y:([\d.]+)", statistics.read_text(encoding="utf-8"))]
    result = meter.result()
    assert len(frame_figures) == 3
    assert result.psnr_y == pytest.approx(pooled, abs=0.01)
    assert result.psnr_y_frame_mean == pytest.approx(np.mean(frame_figures), abs=0.01)
    assert result.psnr_y != pytest.approx(result.psnr_y_frame_mean, abs=0.1)


def test_figures_are_those_of_real_numbers() -> None:
    picture = make_picture(width=33, height=21, scale=3, frame_count=2)
    meter = QualityMeter(picture=picture, grid=make_grid(picture, width=5, height=6, halo=2))
    references = [_reference(33, 21, seed) for seed in (1, 2)]
    restored = [_restored(_near(reference.frame, seed=9, strength=20)) for reference in references]
    for reference, frame in zip(references, restored, strict=True):
        meter.add(reference, frame)
    a = np.array([yuv_to_rgb(reference.frame, BT709) for reference in references]).astype(float)
    b = np.array([yuv_to_rgb(frame.yuv, BT709) for frame in restored]).astype(float)
    result = meter.result()
    assert result.psnr_rgb == pytest.approx(10 * log10(255**2 / np.mean((a - b) ** 2)), abs=1e-9)
    frames = [10 * log10(255**2 / np.mean((x - y) ** 2)) for x, y in zip(a, b, strict=True)]
    assert result.psnr_rgb_frame_mean == pytest.approx(np.mean(frames), abs=1e-9)
    # Patches of 15 x 18, of which 7 pixels are shaved on each side: columns 7 to 7, rows 7 to 10 of each.
    interior = np.ix_([0, 1], [7, 8, 9, 10], [7, 22], [0, 1, 2])
    paper = 10 * log10(255**2 / np.mean((a[interior] - b[interior]) ** 2))
    assert result.paper_psnr_rgb == pytest.approx(paper, abs=1e-9)


def test_segments_are_pooled_on_their_own() -> None:
    picture = make_picture(width=20, height=20, scale=2, frame_count=4)
    grid = make_grid(picture, width=10, height=10, halo=0)
    whole = QualityMeter(picture=picture, grid=grid)
    second_half = QualityMeter(picture=picture, grid=grid)
    for number in range(4):
        reference = _reference(20, 20, number)
        restored = _restored(_near(reference.frame, seed=number, strength=1 + 5 * number))
        whole.add(reference, restored)
        if number >= 2:
            second_half.add(reference, restored)
    assert whole.result(slice(2, 4)) == second_half.result()
    assert whole.result() != second_half.result()
    with pytest.raises(ValueError, match="no frame"):
        whole.result(slice(4, 6))


def test_error_free_frame_counts_as_100_db_in_the_mean_only() -> None:
    picture = make_picture(width=24, height=24, scale=2, frame_count=2)
    meter = QualityMeter(picture=picture, grid=make_grid(picture, width=4, height=4, halo=0))
    first, second = _reference(24, 24, 1), _reference(24, 24, 2)
    meter.add(first, _restored(first.frame))
    perfect = meter.result()
    assert (perfect.psnr_y, perfect.psnr_rgb, perfect.psnr_y_frame_mean) == (None, None, 100)
    assert perfect.ssim_y == pytest.approx(1, abs=1e-6)
    one_sample = YuvFrame(y=second.frame.y.copy(), u=second.frame.u, v=second.frame.v, time=Fraction(0))
    one_sample.y[5, 5] ^= 1
    meter.add(second, _restored(one_sample))
    result = meter.result()
    frame_psnr = 10 * log10(255**2 * 24 * 24)
    assert result.psnr_y == pytest.approx(frame_psnr + 10 * log10(2))
    assert result.psnr_y_frame_mean == pytest.approx((100 + frame_psnr) / 2)
    # Nothing is left of patches of 8 x 8 without 6 pixels on each side.
    assert result.paper_psnr_rgb is None


def test_rgb_networks_are_judged_by_the_luma_of_their_rgb() -> None:
    picture = make_picture(width=16, height=16, scale=2)
    meter = QualityMeter(picture=picture, grid=make_grid(picture, width=8, height=8, halo=0))
    reference = _reference(16, 16, 3)
    restored = RestoredFrame(time=Fraction(0), colour=BT709, restored_rgb=reference.rgb)
    error = meter.add(reference, restored)
    assert error.rgb_squared_error == 0
    assert error.luma_squared_error == ((restored.luma.astype(int) - reference.luma) ** 2).sum()


@settings(deadline=None, max_examples=60)
@given(
    scale=st.sampled_from([2, 3, 4]),
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    patch=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    channels=st.sampled_from([None, 1, 3]),
)
def test_patch_errors_are_exact_and_add_up(
    scale: Scale, size: tuple[int, int], patch: tuple[int, int], channels: int | None
) -> None:
    picture = make_picture(width=size[0], height=size[1], scale=scale)
    grid = make_grid(picture, width=patch[0], height=patch[1], halo=0)
    shape = (size[1], size[0]) if channels is None else (size[1], size[0], channels)
    random = np.random.default_rng(0)
    a, b = (random.integers(0, 256, shape, dtype=np.uint8) for _ in range(2))
    errors = patch_squared_error(a, b, picture=picture, grid=grid)
    counts = patch_pixel_counts(picture, grid)
    difference = a.astype(int) - b
    for number, (error, count) in enumerate(zip(errors, counts, strict=True)):
        row, column = divmod(number, grid.columns)
        top, left = row * patch[1] * scale, column * patch[0] * scale
        piece = difference[top : top + patch[1] * scale, left : left + patch[0] * scale]
        assert error == (piece**2).sum()
        assert count == piece.shape[0] * piece.shape[1]
    assert errors.dtype == np.float64
    assert errors.sum() == (difference**2).sum()
    assert counts.sum() == size[0] * size[1]


def test_largest_errors_do_not_overflow() -> None:
    picture = make_picture(width=512, height=512, scale=4)
    grid = make_grid(picture, width=128, height=128, halo=0)
    black, white = np.zeros((512, 512, 3), np.uint8), np.full((512, 512, 3), 255, np.uint8)
    assert squared_error(black, white).max() == 3 * 255**2
    assert patch_squared_error(black, white, picture=picture, grid=grid).tolist() == [3 * 255**2 * 512 * 512]


def test_pictures_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="different shapes"):
        squared_error(np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8))


def test_psnr_of_no_error_is_none() -> None:
    assert psnr(0) is None
    assert psnr(255**2) == 0
    assert psnr(1) == pytest.approx(48.1308, abs=1e-4)
