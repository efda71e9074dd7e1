"""The joint set that one network for all groups is trained on (paper section 3.3, eq. 2)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from core.encoding_settings import TrainingSettings
from workers.errors import EncodingError


class JointSetSizeError(EncodingError):
    """No shares of the middle groups give the joint set the size asked for."""

    type = "joint_patch_count_impossible"
    title = "The joint set can't have this size"


def joint_set_counts(group_sizes: list[int], training: TrainingSettings) -> list[int]:
    """How many patches of each group are in the joint set.

    All of group 0, none of the last one, and between them the shares rho: `joint_shares`, by default a straight line
    from 1 to 0. Where `joint_patch_count` (mu) is given, one common factor scales the middle shares to meet it, no
    share going beyond 1. With a single group the set is everything.

    Raises:
        JointSetSizeError: `joint_patch_count` is out of reach.
    """
    shares = np.array(training.joint_shares or np.linspace(1, 0, len(group_sizes)), dtype=np.float64)
    sizes = np.array(group_sizes)
    if training.joint_patch_count is None:
        counts: list[int] = np.floor(shares * sizes + 0.5).astype(int).tolist()
        return counts
    middle = _scaled_counts(sizes[1:], shares[1:], training.joint_patch_count - group_sizes[0], group_sizes[0])
    return [group_sizes[0], *middle]


def sample_joint_set(
    group_of_patch: npt.NDArray[np.uint8], group_count: int, training: TrainingSettings, *, seed: int
) -> npt.NDArray[np.bool_]:
    """Which patches are in the joint set, drawn by the seed: bool, by their flat numbers (frame * patches + patch).

    Raises:
        JointSetSizeError: `training.joint_patch_count` is out of reach.
    """
    groups = group_of_patch.reshape(-1)
    counts = joint_set_counts(group_sizes(groups, group_count), training)
    generator = np.random.default_rng(seed)
    is_member = np.zeros(len(groups), dtype=np.bool_)
    for group, count in enumerate(counts):
        # Half the size of numpy's own index type, and one group at a time: this goes over all patches of the video.
        members = np.flatnonzero(groups == group).astype(np.uint32)
        is_member[generator.permutation(members)[:count]] = True
    return is_member


def group_sizes(group_of_patch: npt.NDArray[np.uint8], group_count: int) -> list[int]:
    """Patches in each group."""
    return [int(np.count_nonzero(group_of_patch == group)) for group in range(group_count)]


def _scaled_counts(
    sizes: npt.NDArray[np.int64], shares: npt.NDArray[np.float64], wanted: int, hardest: int
) -> list[int]:
    """Counts near factor * shares * sizes that sum to `wanted`, none above its group's size."""
    reachable = int(sizes[shares > 0].sum())
    if not 0 <= wanted <= reachable:
        raise JointSetSizeError(
            f"training.joint_patch_count is {wanted + hardest}, but the groups allow {hardest} (group 0 alone) "
            f"to {hardest + reachable} (group 0 and all groups with a share above 0). Change it, or leave it out."
        )
    weights = shares * sizes
    capped = np.zeros(len(sizes), dtype=bool)
    ideal = np.zeros(len(sizes))
    # A group that is taken whole leaves its surplus to the others, which may then be taken whole in turn.
    for _ in sizes:
        rest = wanted - sizes[capped].sum()
        free_weight = weights[~capped].sum()
        ideal = np.where(capped, sizes, weights * (rest / free_weight if free_weight else 0))
        if not (ideal > sizes).any():
            break
        capped |= ideal >= sizes
    counts = np.floor(ideal + 1e-9).astype(int)
    # The largest remainders get the patches that rounding down has left over.
    open_groups = [int(group) for group in np.argsort(counts - ideal, kind="stable") if counts[group] < sizes[group]]
    for group in open_groups[: wanted - int(counts.sum())]:
        counts[group] += 1
    scaled: list[int] = counts.tolist()
    return scaled
