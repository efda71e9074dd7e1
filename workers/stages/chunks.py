"""Stage 4: group the patches into chunks (paper section 3.2, eq. 1), from which the patch index follows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from core.recipes import EncodingSettings
from workers.joint_set import joint_set_counts
from workers.stages.score import PatchScores

IndexArray = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class ChunkPlan:
    """Which chunk each patch belongs to, and which network restores it."""

    chunk_of_patch: IndexArray
    """(frames, rows * columns) uint8; by PSNR, chunk 0 is the hardest."""
    network_of_patch: IndexArray
    """(frames, rows * columns) uint8: what the patch index says."""

    @property
    def used_network_count(self) -> int:
        """Networks that restore at least one patch: fewer than asked for where there are fewer patches than chunks.

        They are the first ones, since the first chunks are never the smaller ones.
        """
        return int(self.network_of_patch.max()) + 1

    def save(self, path: Path) -> None:
        """Write as .npz, without pickle."""
        np.savez_compressed(path, chunk_of_patch=self.chunk_of_patch, network_of_patch=self.network_of_patch)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(chunk_of_patch=arrays["chunk_of_patch"], network_of_patch=arrays["network_of_patch"])


def plan_chunks(scores: PatchScores, settings: EncodingSettings) -> ChunkPlan:
    """Group the patches as the method says.

    Raises:
        workers.joint_set.JointSetSizeError: `training.joint_patch_count` can't be met with these chunks.
    """
    chunk_of_patch = _partition(scores.mse, settings)
    if settings.sharing == "joint":
        # Computed for its check alone: a count that can't be met shall fail before any training.
        joint_set_counts(chunk_sizes(chunk_of_patch, settings.chunk_count), settings.training)
        return ChunkPlan(chunk_of_patch=chunk_of_patch, network_of_patch=np.zeros_like(chunk_of_patch))
    return ChunkPlan(chunk_of_patch=chunk_of_patch, network_of_patch=chunk_of_patch)


def chunk_sizes(chunk_of_patch: IndexArray, chunk_count: int) -> list[int]:
    """Patches in each chunk."""
    sizes: list[int] = np.bincount(chunk_of_patch.ravel(), minlength=chunk_count).tolist()
    return sizes


def split_by_psnr(mse: npt.NDArray[np.float32], chunk_count: int) -> IndexArray:
    """Chunks of equal size (within one patch) by f0's PSNR, chunk 0 the hardest; ties in (frame, patch) order.

    Sorted by mean squared error, which orders like PSNR and is finite where the PSNR is not: patches without any
    error come last.
    """
    hardest_first = np.argsort(-mse.ravel(), kind="stable")
    chunk_of_patch = np.empty(mse.size, dtype=np.uint8)
    for chunk, members in enumerate(np.array_split(hardest_first, chunk_count)):
        chunk_of_patch[members] = chunk
    return chunk_of_patch.reshape(mse.shape)


def split_by_time(frame_count: int, patch_count: int, chunk_count: int) -> IndexArray:
    """Chunks of consecutive whole frames, of equal length within one frame."""
    parts = np.array_split(np.arange(frame_count), chunk_count)
    chunk_of_frame = np.repeat(np.arange(chunk_count, dtype=np.uint8), [len(part) for part in parts])
    return np.repeat(chunk_of_frame[:, None], patch_count, axis=1)


def _partition(mse: npt.NDArray[np.float32], settings: EncodingSettings) -> IndexArray:
    match settings.partition:
        case "psnr":
            return split_by_psnr(mse, settings.chunk_count)
        case "time":
            frame_count, patch_count = mse.shape
            return split_by_time(frame_count, patch_count, settings.chunk_count)
        case "none":
            return np.zeros(mse.shape, dtype=np.uint8)
