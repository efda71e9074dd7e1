"""Geometry: display size -> base frame -> patches, with their halo, in pixels (docs/FORMAT.md, section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from stdo.bundle.codecs import BitDepth
from stdo.bundle.manifest import Manifest, PatchGrid, Picture

Sample = np.uint8 | np.uint16
Image = npt.NDArray[Sample]
"""(h, w, C): uint8 at 8 bits a sample, uint16 at 10"""


def peak(bit_depth: BitDepth) -> int:
    """The largest sample: 255 or 1023."""
    return (1 << bit_depth) - 1


def sample_type(bit_depth: BitDepth) -> type[Sample]:
    """How samples of that many bits are held."""
    return np.uint8 if bit_depth == 8 else np.uint16


@dataclass(frozen=True, kw_only=True)
class FrameLayout:
    """What restoring or comparing a frame has to know of its bundle."""

    picture: Picture
    grid: PatchGrid | None
    """None without networks: every frame is then as decoded."""
    base_bit_depth: BitDepth
    """Bits of a sample of the base stream; those of the restored picture are `picture.bit_depth`."""

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """The layout of a bundle's frames."""
        return cls(picture=manifest.picture, grid=manifest.patch_grid, base_bit_depth=manifest.base_stream.bit_depth)


def base_size(display_size: int, scale: int) -> int:
    """The even size of the base stream that covers `display_size` pixels of the picture."""
    return 2 * _divide_up(display_size, 2 * scale)


def make_patch_grid(*, base_width: int, base_height: int, patch_width: int, patch_height: int, halo: int) -> PatchGrid:
    """The grid that covers a base frame; the last column and row may reach beyond it."""
    return PatchGrid(
        patch_width=patch_width,
        patch_height=patch_height,
        columns=_divide_up(base_width, patch_width),
        rows=_divide_up(base_height, patch_height),
        halo=halo,
    )


def _divide_up(number: int, by: int) -> int:
    """Exact for whole numbers of any size, unlike ceil(number / by)."""
    return -(-number // by)


@dataclass(frozen=True, kw_only=True)
class PatchBox:
    """Where a patch lies in the base frame, cut short at the frame's edge."""

    top: int
    left: int
    height: int
    width: int


def patch_boxes(grid: PatchGrid, *, base_width: int, base_height: int) -> list[PatchBox]:
    """The boxes of all patches in raster order (row by row, from the left); together they tile the frame."""
    return [
        PatchBox(
            top=top,
            left=left,
            height=min(grid.patch_height, base_height - top),
            width=min(grid.patch_width, base_width - left),
        )
        for top in range(0, grid.rows * grid.patch_height, grid.patch_height)
        for left in range(0, grid.columns * grid.patch_width, grid.patch_width)
    ]


def extract_patches(frame: Image, grid: PatchGrid) -> Image:
    """All patches of a base frame with their halo, the frame extended by edge replication.

    Args:
        frame: (H, W, C).

    Returns:
        (rows * columns, patch_height + 2 * halo, patch_width + 2 * halo, C) in raster order.
    """
    windows = patch_windows(frame, grid)
    return np.ascontiguousarray(windows).reshape(grid.patch_count, *windows.shape[2:])


def patch_windows(frame: Image, grid: PatchGrid) -> Image:
    """The same as views into one extended frame: small patches with a wide halo are many times the frame.

    Args:
        frame: (H, W, C).

    Returns:
        (rows, columns, patch_height + 2 * halo, patch_width + 2 * halo, C), not to be written to.
    """
    extended = _extend(frame, grid)
    window = (grid.patch_height + 2 * grid.halo, grid.patch_width + 2 * grid.halo)
    windows = np.lib.stride_tricks.sliding_window_view(extended, window, axis=(0, 1))
    return windows[:: grid.patch_height, :: grid.patch_width].transpose(0, 1, 3, 4, 2)


def assemble_patches(patches: Image, grid: PatchGrid, *, scale: int, height: int, width: int) -> Image:
    """Put restored patches together and cut off what exceeds the picture.

    Args:
        patches: (rows * columns, scale * patch_height, scale * patch_width, C) in raster order, halo cut off.
        height, width: of the picture wanted, in its own pixels.

    Returns:
        (height, width, C).
    """
    _, patch_height, patch_width, channels = patches.shape
    if (patch_height, patch_width) != (scale * grid.patch_height, scale * grid.patch_width):
        raise ValueError(f"patches do not fit the grid at scale {scale}: {patches.shape = }")
    tiled = patches.reshape(grid.rows, grid.columns, patch_height, patch_width, channels)
    whole = tiled.transpose(0, 2, 1, 3, 4).reshape(grid.rows * patch_height, grid.columns * patch_width, channels)
    return whole[:height, :width]


def halved_grid(grid: PatchGrid) -> PatchGrid:
    """The grid as the chroma planes see it. Sizes of patches and halo are even where a bundle needs this."""
    size = {"patch_width": grid.patch_width // 2, "patch_height": grid.patch_height // 2, "halo": grid.halo // 2}
    return grid.model_copy(update=size)


def _extend(frame: Image, grid: PatchGrid) -> Image:
    base_height, base_width = frame.shape[:2]
    bottom = grid.rows * grid.patch_height - base_height + grid.halo
    right = grid.columns * grid.patch_width - base_width + grid.halo
    return np.pad(frame, ((grid.halo, bottom), (grid.halo, right), (0, 0)), mode="edge")
