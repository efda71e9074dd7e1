"""Stage 3: how hard each patch is: the error that the general network f0 leaves in it (paper section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from core.presets import EncodingSettings
from models.general import load_general_network
from stdo.bundle.manifest import PatchGrid, Picture
from stdo.decoder.reconstruction import FrameRestorer
from stdo.decoder.restored_frame import RestoredFrame
from stdo.quality.psnr import FrameError, QualityMeter, ReferenceFrame, patch_pixel_counts, patch_squared_error
from workers.base_stream.frame_pairs import GENERAL_NETWORK_HALO, FramePair, VideoFiles, patch_grid
from workers.errors import TooManyPatchesError
from workers.progress import Progress
from workers.training.frame_threads import map_frames
from workers.training.torch_upscaler import TorchUpscaler

PatchErrors = npt.NDArray[np.float32]
"""(frames, rows * columns) float32: mean squared error of each patch over R'G'B', 8 bit, its pixels inside the picture
alone; 0 for a patch that lies wholly beyond it."""

MOST_PATCHES = 200_000_000
"""Of all frames together. Scoring and grouping them takes some 20 bytes each."""

_FRAME_FIGURES = tuple(field.name for field in fields(FrameError))


@dataclass(frozen=True, kw_only=True, eq=False)
class PatchScores:
    """What f0 leaves to be done."""

    mse: PatchErrors
    f0_frames: tuple[FrameError, ...]
    """f0's error in each whole frame: f0 runs over the whole video here, and need not again to be judged."""

    def save(self, path: Path) -> None:
        """Write as .npz, without pickle."""
        arrays: dict[str, Any] = {"mse": self.mse}
        for name in _FRAME_FIGURES:
            arrays[name] = np.array([getattr(frame, name) for frame in self.f0_frames])
        np.savez_compressed(path, **arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            columns = [arrays[name].tolist() for name in _FRAME_FIGURES]
            frames = (FrameError(**dict(zip(_FRAME_FIGURES, row, strict=True))) for row in zip(*columns, strict=True))
            return cls(mse=arrays["mse"], f0_frames=tuple(frames))


def check_patch_count(picture: Picture, settings: EncodingSettings) -> None:
    """Refuse what would not fit into memory, before hours are spent on it.

    Raises:
        TooManyPatchesError
    """
    grid = patch_grid(picture, settings)
    patch_count = picture.frame_count * grid.rows * grid.columns
    if patch_count > MOST_PATCHES:
        raise TooManyPatchesError(
            f"Patches of {settings.patches.width}x{settings.patches.height} pixels make {patch_count} in all frames of "
            f"this video, and this service takes at most {MOST_PATCHES}. Ask for larger patches (patches.width, "
            "patches.height), or cut the video into parts."
        )


def score_patches(
    video: VideoFiles, settings: EncodingSettings, *, device: torch.device, report: Progress, batch_size: int = 16
) -> PatchScores:
    """Run f0 over the decoded low-resolution frames, in one streaming pass, and measure what is missing.

    Args:
        batch_size: patches that f0 sees at once; the scores don't depend on it.
    """
    picture = video.info.picture(settings.scale)
    network = load_general_network(settings.general_network, scale=settings.scale, channels="rgb")
    upscaler = TorchUpscaler(network, scale=settings.scale, channels="rgb", device=device, batch_size=batch_size)
    restorer = FrameRestorer(picture, patch_grid(picture, settings, halo=GENERAL_NETWORK_HALO), [upscaler])
    grid = patch_grid(picture, settings)
    only_network = np.zeros(grid.rows * grid.columns, dtype=np.uint8)

    def score_frame(pair: FramePair) -> tuple[npt.NDArray[np.float32], FrameError]:
        reference = pair.reference(picture)
        restored = restorer.restore(pair.base, only_network)
        frame_error = QualityMeter(picture=picture, grid=grid).add(reference, restored)
        return patch_mse(reference, restored, picture=picture, grid=grid), frame_error

    mse = np.empty((picture.frame_count, grid.rows * grid.columns), dtype=np.float32)
    frames: list[FrameError] = []
    for number, (frame_mse, frame_error) in enumerate(map_frames(score_frame, video.frame_pairs(picture))):
        mse[number] = frame_mse
        frames.append(frame_error)
        report("score", number + 1, picture.frame_count, "frames")
    return PatchScores(mse=mse, f0_frames=tuple(frames))


def patch_mse(
    reference: ReferenceFrame, restored: RestoredFrame, *, picture: Picture, grid: PatchGrid
) -> npt.NDArray[np.float32]:
    """One row of `PatchErrors`."""
    total = patch_squared_error(reference.rgb, restored.rgb, picture=picture, grid=grid)
    samples = 3 * patch_pixel_counts(picture, grid)
    return np.divide(total, samples, out=np.zeros_like(total), where=samples > 0).astype(np.float32)
