"""Group the patches (paper section 3.2, eq. 1), from which patch index and trainings follow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from core.encoding_settings import EncodingSettings
from workers.training.patch_selection import in_blocks
from workers.training.score import PatchScores
from workers.training.sharing import IndexArray, Training, sharing_of


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupPlan:
    """Which group each patch belongs to, which network restores it, and what is to be trained."""

    group_of_patch: IndexArray
    """(frames, rows * columns) uint8; by PSNR, group 0 is the hardest."""
    numbers: IndexArray
    """(frames, rows * columns) uint8: the network number of each patch, as the patch index says it."""
    difficulty_ranks: tuple[int, ...]
    """By network number: 0 for the network whose patches f0 restores worst."""
    trainings: tuple[Training, ...]
    """Each network is of one of them."""

    @property
    def network_count(self) -> int:
        """Networks that restore at least one patch."""
        return len(self.difficulty_ranks)

    def save(self, path: Path) -> None:
        """Write as .npz, without pickle."""
        training_of_network = [training.number for training in self.trainings for _ in training.networks]
        np.savez_compressed(
            path,
            group_of_patch=self.group_of_patch,
            numbers=self.numbers,
            difficulty_ranks=np.array(self.difficulty_ranks),
            networks=np.array([network for training in self.trainings for network in training.networks]),
            training_of_network=np.array(training_of_network),
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            networks, training_of_network = arrays["networks"], arrays["training_of_network"]
            return cls(
                group_of_patch=arrays["group_of_patch"],
                numbers=arrays["numbers"],
                difficulty_ranks=tuple(arrays["difficulty_ranks"].tolist()),
                trainings=tuple(
                    Training(number=number, networks=tuple(networks[training_of_network == number].tolist()))
                    for number in range(int(training_of_network.max()) + 1)
                ),
            )


def plan_groups(scores: PatchScores, settings: EncodingSettings) -> GroupPlan:
    """Group the patches as the method says.

    Raises:
        workers.training.joint_set.JointSetSizeError: `training.joint_patch_count` can't be met with these groups.
    """
    sharing = sharing_of(settings)
    group_of_patch = _partition(scores.mse, settings)
    numbers = sharing.network_numbers(group_of_patch)
    # Fewer than asked for where there are fewer patches than groups: the first groups are never the smaller ones.
    network_count = int(numbers.max()) + 1
    return GroupPlan(
        group_of_patch=group_of_patch,
        numbers=numbers,
        difficulty_ranks=_difficulty_ranks(scores.mse, numbers, network_count),
        trainings=sharing.trainings(network_count),
    )


def split_by_psnr(mse: npt.NDArray[np.float32], group_count: int) -> IndexArray:
    """Groups of equal size (within one patch) by f0's PSNR, group 0 the hardest; ties in (frame, patch) order.

    By mean squared error, which orders like PSNR and is finite where the PSNR is not: patches without any error come
    last. The errors are looked at in blocks: sorting those of a long video would take several times their memory.
    """
    flat = mse.reshape(-1)
    group_of_patch = np.zeros(flat.size, dtype=np.uint8)
    share, rest = divmod(flat.size, group_count)
    for group in range(1, group_count):
        harder_count = group * share + min(group, rest)
        _move_to_next_group(group_of_patch, flat, harder_count)
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


def _move_to_next_group(group_of_patch: IndexArray, mse: npt.NDArray[np.float32], harder_count: int) -> None:
    """Raise the group of all patches by one, in place, but for the `harder_count` hardest of them."""
    threshold = _nth_largest(mse, harder_count)
    above = sum(int(np.count_nonzero(block > threshold)) for block in in_blocks(mse))
    ties_left = harder_count - above
    for block, groups in zip(in_blocks(mse), in_blocks(group_of_patch), strict=True):
        is_easier = block < threshold
        ties = np.flatnonzero(block == threshold)
        is_easier[ties[ties_left:]] = True
        ties_left = max(0, ties_left - len(ties))
        groups += is_easier


def _nth_largest(values: npt.NDArray[np.float32], n: int) -> np.float32:
    """The n-th largest (from 1) of numbers that aren't negative: their bits, read as whole numbers, order like them.

    The upper halves of the bits are counted, then the lower halves of those that have the right upper half.
    """
    bits = values.view(np.uint32)
    upper, larger = _bucket_of((block >> 16 for block in in_blocks(bits)), n)
    lower, _ = _bucket_of((block[block >> 16 == upper] & 0xFFFF for block in in_blocks(bits)), n - larger)
    return np.uint32(upper << 16 | lower).view(np.float32)


def _bucket_of(blocks: Iterator[npt.NDArray[np.integer[Any]]], n: int) -> tuple[int, int]:
    """The n-th largest of numbers below 2**16, and how many are larger."""
    counts = np.zeros(1 << 16, np.int64)
    for block in blocks:
        counts += np.bincount(block, minlength=len(counts))
    from_largest = np.cumsum(counts[::-1])
    place = int(np.searchsorted(from_largest, n))
    return len(counts) - 1 - place, int(from_largest[place] - counts[::-1][place])


def _difficulty_ranks(mse: npt.NDArray[np.float32], numbers: IndexArray, network_count: int) -> tuple[int, ...]:
    """By network number: its rank by the mean error of its patches, the largest first; ties by number."""
    errors, counts = np.zeros(network_count), np.zeros(network_count)
    for block, networks in zip(in_blocks(mse.reshape(-1)), in_blocks(numbers.reshape(-1)), strict=True):
        errors += np.bincount(networks, weights=block, minlength=network_count)
        counts += np.bincount(networks, minlength=network_count)
    hardest_first = np.argsort(-errors / counts, kind="stable")
    return tuple(np.argsort(hardest_first).tolist())
