from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.encoding_settings import TrainingSettings
from workers.training.joint_set import JointSetSizeError, joint_set_counts, sample_joint_set


def test_default_shares_fall_in_a_straight_line() -> None:
    assert joint_set_counts([100, 100, 100, 100], TrainingSettings()) == [100, 67, 33, 0]
    assert joint_set_counts([10, 10], TrainingSettings()) == [10, 0]


def test_a_single_group_is_taken_whole() -> None:
    assert joint_set_counts([12], TrainingSettings()) == [12]


def test_given_shares_are_kept() -> None:
    assert joint_set_counts([40, 40, 40], TrainingSettings(joint_shares=(1, 0.25, 0))) == [40, 10, 0]


def test_mu_scales_the_middle_shares_by_one_factor() -> None:
    # Shares 2/3 and 1/3 stand in the ratio 2:1, whatever their sum.
    assert joint_set_counts([90, 90, 90, 90], TrainingSettings(joint_patch_count=150)) == [90, 40, 20, 0]
    # No share goes beyond 1: the second group is taken whole, and the third makes up for what is missing.
    assert joint_set_counts([90, 90, 90, 90], TrainingSettings(joint_patch_count=240)) == [90, 90, 60, 0]


@pytest.mark.parametrize("count", [89, 271])
def test_mu_out_of_reach_is_a_clear_error(count: int) -> None:
    with pytest.raises(JointSetSizeError, match=rf"{count}, .* 90 \(group 0 alone\) to 270 "):
        joint_set_counts([90, 90, 90, 90], TrainingSettings(joint_patch_count=count))


@given(st.lists(st.integers(1, 60), min_size=2, max_size=8), st.data())
def test_every_reachable_mu_is_met(sizes: list[int], data: st.DataObject) -> None:
    wanted = data.draw(st.integers(sizes[0], sum(sizes[:-1])))
    counts = joint_set_counts(sizes, TrainingSettings(joint_patch_count=wanted))
    assert sum(counts) == wanted
    assert counts[0] == sizes[0]
    assert counts[-1] == 0
    assert all(0 <= count <= size for count, size in zip(counts, sizes, strict=True))


def test_the_sample_is_drawn_by_the_seed_from_the_right_groups() -> None:
    group_of_patch = np.repeat(np.arange(4, dtype=np.uint8), 30).reshape(12, 10)
    first = sample_joint_set(group_of_patch, 4, TrainingSettings(), seed=1)
    assert first.tolist() == sample_joint_set(group_of_patch, 4, TrainingSettings(), seed=1).tolist()
    assert first.tolist() != sample_joint_set(group_of_patch, 4, TrainingSettings(), seed=2).tolist()
    assert np.bincount(group_of_patch.ravel()[first], minlength=4).tolist() == [30, 20, 10, 0]
    # As numpy's generator shuffles the numbers of a group, whatever their type.
    members = np.random.default_rng(1)
    shuffled = [members.permutation(np.arange(30 * group, 30 * group + 30)) for group in range(4)]
    assert np.flatnonzero(first[30:60]).tolist() == sorted(number - 30 for number in shuffled[1][:20])
