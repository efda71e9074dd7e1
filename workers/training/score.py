"""How hard each patch is: the error that the general network f0 leaves in it (paper section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from core.encoding_settings import EncodingSettings
from models.general import GENERAL_NETWORK_HALO, load_general_network
from stdo.bundle.geometry import FrameLayout
from stdo.bundle.patch_index import AS_DECODED
from stdo.decoder.frame_restorer import FrameRestorer
from stdo.decoder.restored_frame import RestoredFrame
from stdo.quality.psnr import (
    FrameError,
    FrameErrors,
    ReferenceFrame,
    frame_error,
    patch_pixel_counts,
    patch_squared_error,
)
from workers.base_stream.frame_pairs import FramePair, VideoFiles
from workers.progress import Progress
from workers.training.frame_threads import map_frames
from workers.training.torch_upscaler import TorchUpscaler

PatchErrors = npt.NDArray[np.float32]
"""(frames, rows * columns) float32: mean squared error of each patch over R'G'B', in samples of the picture's depth,
its pixels inside the picture alone; 0 for a patch that lies wholly beyond it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PatchScores:
    """What f0 leaves to be done."""

    mse: PatchErrors
    f0_frames: FrameErrors
    """f0's error in each whole frame: f0 runs over the whole video here, and need not again to be judged."""

    def save(self, path: Path) -> None:
        """Write as .npz, without pickle."""
        arrays = {field.name: getattr(self.f0_frames, field.name) for field in fields(FrameErrors)}
        np.savez_compressed(path, mse=self.mse, **arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            f0_frames = FrameErrors(**{field.name: arrays[field.name] for field in fields(FrameErrors)})
            return cls(mse=arrays["mse"], f0_frames=f0_frames)


def score_patches(
    video: VideoFiles, settings: EncodingSettings, *, device: torch.device, report: Progress, batch_size: int = 16
) -> PatchScores:
    """Run f0 over the decoded base frames, in one streaming pass, and measure what is missing.

    Args:
        batch_size: patches that f0 sees at once. Now and then a sample is rounded the other way for it, no more.
    """
    layout = video.layout
    picture, patch_count = layout.picture, patch_pixel_counts(layout).size
    restorer, numbers = _general_restorer(layout, settings, device, batch_size)

    def score_frame(pair: FramePair) -> tuple[npt.NDArray[np.float32], FrameError]:
        reference = pair.reference()
        restored = restorer.restore(pair.base, numbers)
        return patch_mse(layout, reference, restored), frame_error(layout, reference, restored)

    mse = np.empty((picture.frame_count, patch_count), dtype=np.float32)
    f0_frames = FrameErrors.empty(picture.frame_count)
    for number, (frame_mse, error) in enumerate(map_frames(score_frame, video.frame_pairs())):
        mse[number] = frame_mse
        f0_frames[number] = error
        report("score", number + 1, picture.frame_count, "frames")
    return PatchScores(mse=mse, f0_frames=f0_frames)


def patch_mse(layout: FrameLayout, reference: ReferenceFrame, restored: RestoredFrame) -> npt.NDArray[np.float32]:
    """One row of `PatchErrors`."""
    total = patch_squared_error(reference.rgb, restored.rgb, layout)
    samples = 3 * patch_pixel_counts(layout)
    return np.divide(total, samples, out=np.zeros_like(total), where=samples > 0).astype(np.float32)


def _general_restorer(
    layout: FrameLayout, settings: EncodingSettings, device: torch.device, batch_size: int
) -> tuple[FrameRestorer, npt.NDArray[np.uint8]]:
    """f0 at work on whole frames, with its own halo; and the patch numbers that every frame is restored with."""
    assert layout.grid is not None
    grid = layout.grid.model_copy(update={"halo": GENERAL_NETWORK_HALO})
    if settings.scale == 1:
        # f0 gives what it gets: the base frame is its picture, and no network has to run for that.
        return FrameRestorer(layout, []), np.full(grid.patch_count, AS_DECODED, np.uint8)
    network = load_general_network(settings.general_network, scale=settings.scale, channels="rgb")
    f0 = TorchUpscaler(network, scale=settings.scale, channels="rgb", device=device, batch_size=batch_size)
    return FrameRestorer(replace(layout, grid=grid), [f0]), np.zeros(grid.patch_count, np.uint8)
