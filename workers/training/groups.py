"""Stage 4: group the patches into groups (paper section 3.2, eq. 1), from which the patch index follows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from core.presets import EncodingSettings
from workers.training.joint_set import joint_set_counts
from workers.training.score import PatchScores

IndexArray = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupPlan:
    """Which group each patch belongs to, and which network restores it."""

    group_of_patch: IndexArray
    """(frames, rows * columns) uint8; by PSNR, group 0 is the hardest."""
    network_of_patch: IndexArray
    """(frames, rows * columns) uint8: what the patch index says."""

    @property
    def used_network_count(self) -> int:
        """Networks that restore at least one patch: fewer than asked for where there are fewer patches than groups.

        They are the first ones, since the first groups are never the smaller ones.
        """
        return int(self.network_of_patch.max()) + 1

    def save(self, path: Path) -> None:
        """Write as .npz, without pickle."""
        np.savez_compressed(path, group_of_patch=self.group_of_patch, network_of_patch=self.network_of_patch)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(group_of_patch=arrays["group_of_patch"], network_of_patch=arrays["network_of_patch"])


def plan_groups(scores: PatchScores, settings: EncodingSettings) -> GroupPlan:
    """Group the patches as the method says.

    Raises:
        workers.training.joint_set.JointSetSizeError: `training.joint_patch_count` can't be met with these groups.
    """
    group_of_patch = _partition(scores.mse, settings)
    if settings.sharing == "joint":
        # Computed for its check alone: a count that can't be met shall fail before any training.
        joint_set_counts(group_sizes(group_of_patch, settings.group_count), settings.training)
        return GroupPlan(group_of_patch=group_of_patch, network_of_patch=np.zeros_like(group_of_patch))
    return GroupPlan(group_of_patch=group_of_patch, network_of_patch=group_of_patch)


def group_sizes(group_of_patch: IndexArray, group_count: int) -> list[int]:
    """Patches in each group."""
    sizes: list[int] = np.bincount(group_of_patch.ravel(), minlength=group_count).tolist()
    return sizes


def split_by_psnr(mse: npt.NDArray[np.float32], group_count: int) -> IndexArray:
    """Groups of equal size (within one patch) by f0's PSNR, group 0 the hardest; ties in (frame, patch) order.

    Sorted by mean squared error, which orders like PSNR and is finite where the PSNR is not: patches without any
    error come last.
    """
    hardest_first = np.argsort(-mse.ravel(), kind="stable")
    group_of_patch = np.empty(mse.size, dtype=np.uint8)
    for group, members in enumerate(np.array_split(hardest_first, group_count)):
        group_of_patch[members] = group
    return group_of_patch.reshape(mse.shape)


def split_by_time(frame_count: int, patch_count: int, group_count: int) -> IndexArray:
    """Groups of consecutive whole frames, of equal length within one frame."""
    parts = np.array_split(np.arange(frame_count), group_count)
    group_of_frame = np.repeat(np.arange(group_count, dtype=np.uint8), [len(part) for part in parts])
    return np.repeat(group_of_frame[:, None], patch_count, axis=1)


def _partition(mse: npt.NDArray[np.float32], settings: EncodingSettings) -> IndexArray:
    match settings.partition:
        case "psnr":
            return split_by_psnr(mse, settings.group_count)
        case "time":
            frame_count, patch_count = mse.shape
            return split_by_time(frame_count, patch_count, settings.group_count)
        case "none":
            return np.zeros(mse.shape, dtype=np.uint8)
