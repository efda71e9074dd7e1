"""Patches tile the frame, whatever its size."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stdo.bundle.geometry import assemble_patches, base_size, extract_patches, make_patch_grid, patch_boxes
from stdo.bundle.manifest import PatchGrid

few = settings(deadline=None, max_examples=60)


@st.composite
def geometries(draw: st.DrawFn) -> tuple[PatchGrid, int, int]:
    """A grid, and the even size of its base frame."""
    height, width = 2 * draw(st.integers(1, 30)), 2 * draw(st.integers(1, 30))
    grid = make_patch_grid(
        base_width=width,
        base_height=height,
        patch_width=draw(st.integers(1, 40)),
        patch_height=draw(st.integers(1, 40)),
        halo=draw(st.integers(0, 9)),
    )
    return grid, height, width


@few
@given(geometries())
def test_every_pixel_belongs_to_exactly_one_patch(geometry: tuple[PatchGrid, int, int]) -> None:
    grid, height, width = geometry
    owners = np.zeros((height, width), int)
    boxes = patch_boxes(grid, base_width=width, base_height=height)
    for box in boxes:
        assert box.height > 0
        assert box.width > 0
        owners[box.top : box.top + box.height, box.left : box.left + box.width] += 1
    assert len(boxes) == grid.rows * grid.columns
    assert (owners == 1).all()


@few
@given(geometries(), st.sampled_from([1, 3]))
def test_windows_hold_the_frame_extended_at_its_edges(geometry: tuple[PatchGrid, int, int], channels: int) -> None:
    grid, height, width = geometry
    frame = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    windows = extract_patches(frame, grid)
    for number, window in enumerate(windows):
        row, column = divmod(number, grid.columns)
        y = np.clip(row * grid.patch_height - grid.halo + np.arange(window.shape[0]), 0, height - 1)
        x = np.clip(column * grid.patch_width - grid.halo + np.arange(window.shape[1]), 0, width - 1)
        np.testing.assert_array_equal(window, frame[y][:, x])
    assert windows.shape[0] == grid.rows * grid.columns
    assert windows.shape[1:3] == (grid.patch_height + 2 * grid.halo, grid.patch_width + 2 * grid.halo)


@few
@given(geometries(), st.integers(1, 4))
def test_assembling_undoes_extracting(geometry: tuple[PatchGrid, int, int], scale: int) -> None:
    grid, height, width = geometry
    frame = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    bare = grid.model_copy(update={"halo": 0})
    enlarged = extract_patches(frame, bare).repeat(scale, axis=1).repeat(scale, axis=2)
    canvas = assemble_patches(enlarged, bare, scale=scale, height=scale * height, width=scale * width)
    np.testing.assert_array_equal(canvas, frame.repeat(scale, axis=0).repeat(scale, axis=1))


@given(st.integers(1, 5000), st.integers(1, 4))
def test_base_size_is_the_smallest_even_one_that_covers_the_picture(display: int, scale: int) -> None:
    size = base_size(display, scale)
    assert size % 2 == 0
    assert scale * size >= display > scale * (size - 2)
