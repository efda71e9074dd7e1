"""Pictures of where the error is: PSNR of each patch over a frame, as in the paper's Figures 1 and 3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from stdo.bundle.geometry import Image
from stdo.bundle.manifest import PatchGrid, Picture

_WIDTH_INCHES = 9.6
_PSNR_CEILING = 60.0
"""Beyond it no eye sees a difference; patches without any error count as this."""


def patch_psnr(mse: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """PSNR in dB of 8-bit mean squared errors, up to 60 dB."""
    floor = 255.0**2 / 10 ** (_PSNR_CEILING / 10)
    psnr: npt.NDArray[np.float64] = 10 * np.log10(255.0**2 / np.maximum(mse.astype(np.float64), floor))
    return psnr


def draw_heatmap(
    path: Path,
    *,
    title: str,
    rgb: Image,
    psnr: npt.NDArray[np.float64],
    limits: tuple[float, float],
    picture: Picture,
    grid: PatchGrid,
) -> None:
    """Write a PNG: the frame in grey, its patches coloured by their PSNR, and a colour bar in dB.

    Args:
        rgb: (display_height, display_width, 3) uint8.
        psnr: (rows * columns,) in dB.
        limits: lowest and highest PSNR of the colour bar, so that figures can be compared.
    """
    height, width = rgb.shape[:2]
    figure = Figure(figsize=(_WIDTH_INCHES, _WIDTH_INCHES * height / width * 0.9 + 0.5), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    coloured = lay_over(axes, rgb, psnr, limits=limits, colours="viridis", picture=picture, grid=grid)
    axes.set_title(title, fontsize=10)
    figure.colorbar(coloured, ax=axes, label="PSNR of the patch (RGB), dB", fraction=0.035, pad=0.01)
    figure.savefig(path, format="png", metadata={"Software": None})


def lay_over(
    axes: Any,
    rgb: Image,
    values: npt.NDArray[np.float64],
    *,
    limits: tuple[float, float],
    colours: str,
    picture: Picture,
    grid: PatchGrid,
) -> Any:
    """Draw a frame in grey on matplotlib axes, and over it each patch in the colour of its value.

    Args:
        rgb: (display_height, display_width, 3) uint8.
        values: (rows * columns,).
        limits: the values of the first and the last colour.
        colours: matplotlib's name of a colour map.

    Returns:
        What a colour bar can be made for.
    """
    height, width = rgb.shape[:2]
    right = grid.columns * grid.patch_width * picture.scale - 0.5
    bottom = grid.rows * grid.patch_height * picture.scale - 0.5
    axes.imshow(rgb.mean(axis=2), cmap="gray", vmin=0, vmax=255)
    coloured = axes.imshow(
        values.reshape(grid.rows, grid.columns),
        extent=(-0.5, right, bottom, -0.5),
        cmap=colours,
        alpha=0.7,
        vmin=limits[0],
        vmax=limits[1],
        interpolation="nearest",
    )
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    axes.set_axis_off()
    return coloured
