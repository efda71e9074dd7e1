"""The demo's pictures: source, bicubic and restored side by side, and the error of each patch as heatmaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from demo.restoration import Comparison
from stdo.bundle.geometry import Image
from stdo.bundle.manifest import Manifest
from stdo.decoder.frames import Plane
from workers.delivery.heatmaps import lay_over, patch_psnr

_PANEL_INCHES = 5.2
_BAR_INCHES = 0.75
_DPI = 110
_MARK = "#ffcc00"

PatchPsnr = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class PatchErrors:
    """Mean squared error of each patch over R'G'B', 8 bit: (frames, rows * columns) float32."""

    f0: npt.NDArray[np.float32]
    restored: npt.NDArray[np.float32]

    @classmethod
    def read(cls, path: Path) -> PatchErrors:
        """The bundle's quality/patch_errors.npz."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(f0=arrays["f0"], restored=arrays["restored"])


@dataclass(frozen=True, kw_only=True, eq=False)
class Heatmap:
    """A value for each patch of a frame, and how to colour it."""

    title: str
    values: PatchPsnr
    """(rows * columns,) in dB, raster order."""
    limits: tuple[float, float]
    """What the ends of the colour bar mean."""
    colours: str = "viridis"
    label: str = "PSNR (RGB), dB"


def draw_comparison(path: Path, comparison: Comparison) -> None:
    """Source, bicubic and restored: the whole frame, and below it the crop where they differ most, in large."""
    views = {"source": comparison.source, "bicubic": comparison.bicubic, "restored": comparison.restored}
    crop = comparison.crop
    height, width = comparison.source.luma.shape
    heights = (height / width, crop.height / crop.width)
    figure = _figure(columns=3, panel_heights=heights)
    axes = figure.subplots(2, 3, gridspec_kw={"height_ratios": heights})
    for column, (name, view) in enumerate(views.items()):
        _show(axes[0, column], view.rgb, f"{name}{_psnr_note(comparison.source.luma, view.luma)}")
        axes[0, column].add_patch(
            Rectangle((crop.left, crop.top), crop.width, crop.height, fill=False, edgecolor=_MARK, linewidth=1.5)
        )
        note = _psnr_note(crop.of(comparison.source.luma), crop.of(view.luma))
        _show(axes[1, column], crop.of(view.rgb), f"{name}, enlarged{note}")
    figure.suptitle(
        f"Frame {comparison.frame_number}, and the part of it in which the restored picture gains most over bicubic. "
        "PSNR of luma."
    )
    _save(figure, path)


def draw_f0_heatmaps(path: Path, errors: PatchErrors, frames: dict[int, Image], manifest: Manifest) -> None:
    """PSNR of each patch under the general network f0 on some frames (the paper's Figure 1)."""
    psnr = {number: patch_psnr(errors.f0[number]) for number in frames}
    limits = _limits(list(psnr.values()))
    height, width = next(iter(frames.values())).shape[:2]
    figure = _figure(columns=2, panel_heights=(height / width,) * len(frames), bars=1)
    axes = figure.subplots(len(frames), 2, squeeze=False)
    for row, (number, image) in enumerate(sorted(frames.items())):
        _show(axes[row, 0], image, f"frame {number}")
        heatmap = Heatmap(title=f"f0, frame {number}", values=psnr[number], limits=limits)
        _show_heatmap(axes[row, 1], image, heatmap, manifest)
    figure.suptitle("PSNR of each patch under the general network f0")
    _save(figure, path)


def draw_restored_heatmaps(path: Path, errors: PatchErrors, number: int, image: Image, manifest: Manifest) -> None:
    """One frame under f0 and restored, on one scale, and what each patch has gained (the paper's Figure 3)."""
    f0, restored = patch_psnr(errors.f0[number]), patch_psnr(errors.restored[number])
    limits, gain = _limits([f0, restored]), restored - f0
    reach = float(max(np.abs(gain).max(), 0.1))
    figure = _figure(columns=2, panel_heights=(image.shape[0] / image.shape[1],) * 2, bars=2)
    axes = figure.subplots(2, 2)
    _show(axes[0, 0], image, f"frame {number}")
    maps = {
        (0, 1): Heatmap(title="f0", values=f0, limits=limits),
        (1, 1): Heatmap(title=f"restored ({manifest.provenance.method})", values=restored, limits=limits),
        (1, 0): Heatmap(
            title="restored over f0", values=gain, limits=(-reach, reach), colours="RdBu", label="gain, dB"
        ),
    }
    for place, heatmap in maps.items():
        _show_heatmap(axes[place], image, heatmap, manifest)
    figure.suptitle("PSNR of each patch, restored and under f0")
    _save(figure, path)


def _figure(*, columns: int, panel_heights: Sequence[float], bars: int = 0) -> Figure:
    """`bars`: columns of panels that have a colour bar beside them."""
    height = _PANEL_INCHES * sum(panel_heights) + 0.3 * len(panel_heights) + 0.35
    return Figure(figsize=(_PANEL_INCHES * columns + _BAR_INCHES * bars, height), dpi=_DPI, layout="constrained")


def _show(axes: Any, image: Image, title: str) -> None:
    axes.imshow(image, interpolation="nearest")
    axes.set_title(title, fontsize=11)
    axes.set_axis_off()


def _show_heatmap(axes: Any, image: Image, heatmap: Heatmap, manifest: Manifest) -> None:
    """The frame in grey under its patches' values, and a colour bar as high as the frame."""
    drawn = lay_over(
        axes,
        image,
        heatmap.values,
        limits=heatmap.limits,
        colours=heatmap.colours,
        picture=manifest.picture,
        grid=manifest.patch_grid,
    )
    axes.set_title(heatmap.title, fontsize=11)
    axes.figure.colorbar(drawn, cax=axes.inset_axes((1.015, 0, 0.03, 1)), label=heatmap.label)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, format="png", metadata={"Software": None})


def _psnr_note(reference: Plane, plane: Plane) -> str:
    if plane is reference or not (error := float(np.mean((reference.astype(np.int32) - plane) ** 2))):
        return ""
    return f", {10 * np.log10(255**2 / error):.2f} dB"


def _limits(maps: Sequence[PatchPsnr]) -> tuple[float, float]:
    """One scale for all, so that the same colour means the same error."""
    return float(min(values.min() for values in maps)), float(max(values.max() for values in maps))
