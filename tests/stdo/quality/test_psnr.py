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

from stdo.bundle.codecs import BitDepth
from stdo.bundle.geometry import FrameLayout, peak, sample_type
from stdo.bundle.manifest import PictureQuality, Scale
from stdo.decoder.frames import YuvFrame, yuv_to_rgb
from stdo.decoder.restored_frame import RestoredFrame
from stdo.quality.psnr import (
    FrameErrors,
    ReferenceFrame,
    frame_error,
    patch_pixel_counts,
    patch_squared_error,
    psnr,
    squared_error,
    summary,
)
from tests.stdo.bundles import BT709, make_grid, make_picture, random_frame

each_depth = pytest.mark.parametrize("bit_depth", [8, 10])


def _layout(
    width: int, height: int, *, scale: Scale = 2, patch: tuple[int, int] = (9, 7), bit_depth: BitDepth = 8
) -> FrameLayout:
    picture = make_picture(width=width, height=height, scale=scale, bit_depth=bit_depth)
    grid = make_grid(picture, width=patch[0], height=patch[1], halo=0)
    return FrameLayout(picture=picture, grid=grid, base_bit_depth=8)


def _reference(layout: FrameLayout, seed: int) -> ReferenceFrame:
    picture = layout.picture
    frame = random_frame(picture.display_width, picture.display_height, seed=seed, bit_depth=picture.bit_depth)
    return ReferenceFrame(frame=frame, colour=BT709)


def _near(frame: YuvFrame, *, seed: int, strength: int) -> RestoredFrame:
    random = np.random.default_rng(seed)

    def noisy(plane: npt.NDArray[np.uint8 | np.uint16]) -> npt.NDArray[np.uint8 | np.uint16]:
        noise = random.integers(-strength, strength + 1, plane.shape)
        result: npt.NDArray[np.uint8 | np.uint16] = np.clip(plane + noise, 0, peak(frame.bit_depth)).astype(plane.dtype)
        return result

    planes = [noisy(plane) for plane in (frame.y, frame.u, frame.v)]
    near = YuvFrame(y=planes[0], u=planes[1], v=planes[2], time=frame.time, bit_depth=frame.bit_depth)
    return _restored(near)


def _restored(frame: YuvFrame) -> RestoredFrame:
    return RestoredFrame(time=frame.time, colour=BT709, bit_depth=frame.bit_depth, restored_yuv=frame)


def _errors(layout: FrameLayout, references: list[ReferenceFrame], restored: list[RestoredFrame]) -> FrameErrors:
    errors = FrameErrors.empty(len(references))
    for number, (reference, frame) in enumerate(zip(references, restored, strict=True)):
        errors[number] = frame_error(layout, reference, frame)
    return errors


def _write_raw(path: Path, frames: list[YuvFrame]) -> Path:
    path.write_bytes(b"".join(plane.tobytes() for frame in frames for plane in (frame.y, frame.u, frame.v)))
    return path


@each_depth
def test_luma_psnr_is_that_of_ffmpeg(bit_depth: BitDepth, tmp_path: Path) -> None:
    width, height = 70, 46
    layout = _layout(width, height, bit_depth=bit_depth)
    references = [_reference(layout, seed) for seed in range(3)]
    restored = [
        _near(reference.frame, seed=number, strength=3 + 9 * number) for number, reference in enumerate(references)
    ]
    result = summary(_errors(layout, references, restored), layout)
    pixel_format = "yuv420p" if bit_depth == 8 else "yuv420p10le"
    inputs = []
    shown = ("restored", [frame.yuv for frame in restored]), ("reference", [frame.frame for frame in references])
    for name, frames in shown:
        path = _write_raw(tmp_path / name, frames)
        inputs += ["-f", "rawvideo", "-pix_fmt", pixel_format, "-s", f"{width}x{height}", "-i", str(path)]
    statistics = tmp_path / "psnr.txt"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *inputs, "-lavfi", f"psnr=stats_file={statistics}", "-f", "null", "-"]
    log = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stderr
    pooled = float(re.search(r"PSNR y:([\d.]+)", log)[1])  # type: ignore[index]
    frame_figures = [float(figure) for figure in re.findall(r"psnr_y:([\d.]+)", statistics.read_text(encoding="utf-8"))]
    assert len(frame_figures) == 3
    assert result.psnr_y == pytest.approx(pooled, abs=0.01)
    assert result.psnr_y_frame_mean == pytest.approx(np.mean(frame_figures), abs=0.01)
    assert result.psnr_y != pytest.approx(result.psnr_y_frame_mean, abs=0.1)


@each_depth
def test_figures_are_those_of_real_numbers(bit_depth: BitDepth) -> None:
    layout = _layout(33, 21, scale=3, patch=(5, 6), bit_depth=bit_depth)
    references = [_reference(layout, seed) for seed in (1, 2)]
    restored = [_near(reference.frame, seed=9, strength=20) for reference in references]
    result = summary(_errors(layout, references, restored), layout)
    a = np.array([yuv_to_rgb(reference.frame, BT709) for reference in references]).astype(float)
    b = np.array([yuv_to_rgb(frame.yuv, BT709) for frame in restored]).astype(float)
    largest = peak(bit_depth) ** 2
    assert result.psnr_rgb == pytest.approx(10 * log10(largest / np.mean((a - b) ** 2)), abs=1e-9)
    frames = [10 * log10(largest / np.mean((x - y) ** 2)) for x, y in zip(a, b, strict=True)]
    assert result.psnr_rgb_frame_mean == pytest.approx(np.mean(frames), abs=1e-9)
    # Patches of 15 x 18, of which 7 pixels are shaved on each side: columns 7 to 7, rows 7 to 10 of each.
    interior = np.ix_([0, 1], [7, 8, 9, 10], [7, 22], [0, 1, 2])
    paper = 10 * log10(largest / np.mean((a[interior] - b[interior]) ** 2))
    assert result.paper_psnr_rgb == pytest.approx(paper, abs=1e-9)


def test_same_error_in_levels_counts_less_at_ten_bits() -> None:
    figures: dict[int, PictureQuality] = {}
    depths: tuple[BitDepth, BitDepth] = (8, 10)
    for bit_depth in depths:
        layout = _layout(16, 16, bit_depth=bit_depth)
        flat = np.full((16, 16), 100, sample_type(bit_depth))
        frames = [
            YuvFrame(y=flat + kind(step), u=flat[:8, :8], v=flat[:8, :8], time=Fraction(0), bit_depth=bit_depth)
            for kind, step in ((flat.dtype.type, 0), (flat.dtype.type, 1))
        ]
        errors = _errors(layout, [ReferenceFrame(frame=frames[0], colour=BT709)], [_restored(frames[1])])
        figures[bit_depth] = summary(errors, layout)
    assert figures[8].psnr_y == pytest.approx(20 * log10(255))
    assert figures[10].psnr_y == pytest.approx(20 * log10(1023))


def test_some_of_the_frames_are_pooled_on_their_own() -> None:
    layout = _layout(20, 20, patch=(10, 10))
    references = [_reference(layout, number) for number in range(4)]
    restored = [
        _near(reference.frame, seed=number, strength=1 + 5 * number) for number, reference in enumerate(references)
    ]
    whole = _errors(layout, references, restored)
    assert summary(whole[2:4], layout) == summary(_errors(layout, references[2:], restored[2:]), layout)
    assert summary(whole[np.array([0, 2])], layout) == summary(_errors(layout, references[::2], restored[::2]), layout)
    assert summary(whole, layout) != summary(whole[2:4], layout)
    with pytest.raises(ValueError, match="no frame"):
        summary(whole[4:6], layout)


def test_a_frame_takes_32_bytes() -> None:
    errors = FrameErrors.empty(1000)
    assert len(errors) == 1000
    assert sum(array.nbytes for array in vars(errors).values()) == 32_000


def test_error_free_frame_counts_as_100_db_in_the_mean_only() -> None:
    layout = _layout(24, 24, patch=(4, 4))
    first, second = _reference(layout, 1), _reference(layout, 2)
    errors = FrameErrors.empty(2)
    errors[0] = frame_error(layout, first, _restored(first.frame))
    perfect = summary(errors[:1], layout)
    assert (perfect.psnr_y, perfect.psnr_rgb, perfect.psnr_y_frame_mean) == (None, None, 100)
    assert perfect.ssim_y == pytest.approx(1, abs=1e-6)
    one_sample = YuvFrame(y=second.frame.y.copy(), u=second.frame.u, v=second.frame.v, time=Fraction(0))
    one_sample.y[5, 5] ^= np.uint8(1)
    errors[1] = frame_error(layout, second, _restored(one_sample))
    result = summary(errors, layout)
    frame_psnr = 10 * log10(255**2 * 24 * 24)
    assert result.psnr_y == pytest.approx(frame_psnr + 10 * log10(2))
    assert result.psnr_y_frame_mean == pytest.approx((100 + frame_psnr) / 2)
    # Nothing is left of patches of 8 x 8 without 6 pixels on each side.
    assert result.paper_psnr_rgb is None


def test_bundle_without_patches_has_no_figure_of_the_paper() -> None:
    layout = FrameLayout(picture=_layout(40, 40).picture, grid=None, base_bit_depth=8)
    reference = _reference(layout, 1)
    errors = _errors(layout, [reference], [_near(reference.frame, seed=1, strength=4)])
    result = summary(errors, layout)
    assert result.paper_psnr_rgb is None
    assert result.psnr_rgb is not None


def test_rgb_networks_are_judged_by_the_luma_of_their_rgb() -> None:
    layout = _layout(16, 16, patch=(8, 8))
    reference = _reference(layout, 3)
    restored = RestoredFrame(time=Fraction(0), colour=BT709, bit_depth=8, restored_rgb=reference.rgb)
    error = frame_error(layout, reference, restored)
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
    layout = _layout(*size, scale=scale, patch=patch)
    grid = layout.grid
    assert grid is not None
    shape = (size[1], size[0]) if channels is None else (size[1], size[0], channels)
    random = np.random.default_rng(0)
    a, b = (random.integers(0, 256, shape, dtype=np.uint8) for _ in range(2))
    errors = patch_squared_error(a, b, layout)
    counts = patch_pixel_counts(layout)
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


@pytest.mark.parametrize("bit_depth", [8, 10])
def test_largest_errors_do_not_overflow(bit_depth: BitDepth) -> None:
    layout = _layout(512, 512, scale=4, patch=(128, 128), bit_depth=bit_depth)
    black = np.zeros((512, 512, 3), sample_type(bit_depth))
    white = np.full_like(black, peak(bit_depth))
    for one, other in ((black, white), (white, black)):
        assert squared_error(one, other).max() == 3 * peak(bit_depth) ** 2
        assert patch_squared_error(one, other, layout).tolist() == [3 * peak(bit_depth) ** 2 * 512 * 512]


def test_pictures_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="different shapes"):
        squared_error(np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8))
    with pytest.raises(ValueError, match="different shapes or depths"):
        squared_error(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint16))


def test_psnr_of_no_error_is_none() -> None:
    assert psnr(0, 8) is None
    assert psnr(255**2, 8) == psnr(1023**2, 10) == 0
    assert psnr(1, 8) == pytest.approx(48.1308, abs=1e-4)
    assert psnr(1, 10) == pytest.approx(60.1975, abs=1e-4)
