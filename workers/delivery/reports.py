"""The bundle's quality/ folder: what was measured, in full. Nothing here is needed by a decoder.

report.json        figures of the whole video, of each patch index segment, and of each frame
patch_errors.npz   `f0` and `restored`: (frames, rows * columns) float32, mean squared error of each patch over
                   R'G'B', 8 bit, patches in raster order (a NumPy archive without pickled objects)
f0_heatmap.png, restored_heatmap.png
                   PSNR of each patch in the frame where the restored picture gains most over f0
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from stdo.bundle.manifest import FileEntry, PatchGrid, PatchIndexSegment, Picture
from workers.delivery.export import file_entry
from workers.delivery.heatmaps import draw_heatmap, patch_psnr
from workers.delivery.measure import VARIANTS, Evaluation
from workers.training.score import PatchScores


def write_quality_files(
    bundle: Path,
    *,
    evaluation: Evaluation,
    scores: PatchScores,
    segments: tuple[PatchIndexSegment, ...],
    picture: Picture,
    grid: PatchGrid,
) -> tuple[FileEntry, ...]:
    """Write quality/ into the bundle's folder."""
    folder = bundle / "quality"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(_report(evaluation, segments), indent=1))
    np.savez_compressed(folder / "patch_errors.npz", f0=scores.mse, restored=evaluation.restored_mse)
    _draw_heatmaps(folder, evaluation, scores, picture=picture, grid=grid)
    return tuple(file_entry(bundle, path) for path in sorted(folder.iterdir()))


def _report(evaluation: Evaluation, segments: tuple[PatchIndexSegment, ...]) -> dict[str, Any]:
    frame_count = len(evaluation.restored_mse)
    return {
        "video": _figures(evaluation, slice(None)),
        "precision_loss": evaluation.precision_loss.model_dump(),
        "heatmap_frame": evaluation.best_frame.number,
        "segments": [
            {
                "first_frame": segment.first_frame,
                "frame_count": segment.frame_count,
                **_figures(evaluation, slice(segment.first_frame, segment.first_frame + segment.frame_count)),
            }
            for segment in segments
        ],
        "frames": [_frame_figures(evaluation, number) for number in range(frame_count)],
    }


def _figures(evaluation: Evaluation, frames: slice) -> dict[str, Any]:
    return {variant: evaluation.quality(variant, frames).model_dump() for variant in VARIANTS}


def _frame_figures(evaluation: Evaluation, number: int) -> dict[str, Any]:
    """PSNR and SSIM of one frame; null where there is no error."""
    figures = {variant: evaluation.quality(variant, slice(number, number + 1)) for variant in VARIANTS}
    return {
        variant: {"psnr_y": quality.psnr_y, "psnr_rgb": quality.psnr_rgb, "ssim_y": quality.ssim_y}
        for variant, quality in figures.items()
    }


def _draw_heatmaps(
    folder: Path, evaluation: Evaluation, scores: PatchScores, *, picture: Picture, grid: PatchGrid
) -> None:
    shown = evaluation.best_frame
    f0, restored = patch_psnr(scores.mse[shown.number]), patch_psnr(evaluation.restored_mse[shown.number])
    # One scale for both, so that the same colour means the same error.
    limits = (float(min(f0.min(), restored.min())), float(max(f0.max(), restored.max())))
    for name, what, psnr in (("f0", "General network f0", f0), ("restored", "Restored", restored)):
        draw_heatmap(
            folder / f"{name}_heatmap.png",
            title=f"{what}, frame {shown.number}",
            rgb=shown.rgb,
            psnr=psnr,
            limits=limits,
            picture=picture,
            grid=grid,
        )
