from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from core.presets import resolve_settings
from stdo.quality.psnr import FrameErrors
from workers.training import patch_selection
from workers.training.groups import GroupPlan, plan_groups, split_by_psnr, split_by_time
from workers.training.joint_set import JointSetSizeError, group_sizes
from workers.training.score import PatchScores
from workers.training.sharing import Training


def scores_of(mse: object) -> PatchScores:
    return PatchScores(mse=np.asarray(mse, dtype=np.float32), f0_frames=FrameErrors.empty(0))


def sorted_split(mse: npt.NDArray[np.float32], group_count: int) -> npt.NDArray[np.uint8]:
    """The same by sorting, in several times the memory."""
    hardest_first = np.argsort(-mse.ravel(), kind="stable")
    group_of_patch = np.empty(mse.size, dtype=np.uint8)
    for group, members in enumerate(np.array_split(hardest_first, group_count)):
        group_of_patch[members] = group
    return group_of_patch.reshape(mse.shape)


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
        # Few values, so that there are many ties.
        elements=st.sampled_from([0.0, 1e-30, 0.5, 1.0, 1.0000001, 3.25, 65025.0]) | st.floats(0, 1e6, width=32),
    ),
    st.integers(1, 16),
    st.sampled_from([3, 17, 1 << 20]),
)
def test_groups_are_those_of_a_stable_sort(mse: npt.NDArray[np.float32], group_count: int, block: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(patch_selection, "_BLOCK", block)
        assert np.array_equal(split_by_psnr(mse, group_count), sorted_split(mse, group_count))


def test_group_0_is_the_hardest_and_sizes_differ_by_at_most_one() -> None:
    mse = np.random.default_rng(0).gamma(1.0, 50.0, (7, 11)).astype(np.float32)
    group_of_patch = split_by_psnr(mse, 4)
    assert group_sizes(group_of_patch, 4) == [20, 19, 19, 19]
    for harder in range(3):
        assert mse[group_of_patch == harder].min() >= mse[group_of_patch == harder + 1].max()


def test_ties_are_split_in_frame_and_patch_order() -> None:
    assert split_by_psnr(np.full((2, 3), 5, np.float32), 3).tolist() == [[0, 0, 1], [1, 2, 2]]


def test_patches_without_any_error_are_the_easiest() -> None:
    mse = np.array([[0, 3], [1, 0], [2, 4]], np.float32)
    assert split_by_psnr(mse, 3).tolist() == [[2, 0], [1, 2], [1, 0]]


def test_split_by_time_keeps_frames_whole_and_in_order() -> None:
    assert split_by_time(5, 3, 2).tolist() == [[0] * 3, [0] * 3, [0] * 3, [1] * 3, [1] * 3]


@pytest.mark.parametrize(
    ("method", "group_numbers", "networks", "ranks"),
    [
        ("stdo", [[1, 1], [0, 0], [2, 2]], [[1, 1], [0, 0], [2, 2]], (0, 1, 2)),
        ("jstdo", [[1, 1], [0, 0], [2, 2]], [[0, 0]] * 3, (0,)),
        ("nas", [[0, 0], [1, 1], [2, 2]], [[0, 0], [1, 1], [2, 2]], (1, 0, 2)),
        ("awdnn", [[0, 0]] * 3, [[0, 0]] * 3, (0,)),
    ],
)
def test_the_method_decides_groups_networks_and_their_ranks(
    method: str, group_numbers: list[list[int]], networks: list[list[int]], ranks: tuple[int, ...]
) -> None:
    groups = {} if method == "awdnn" else {"groups": {"count": 3}}
    settings = resolve_settings("fast", {"method": method, **groups})
    plan = plan_groups(scores_of([[7, 6], [9, 8], [5, 4]]), settings)
    assert plan.group_of_patch.tolist() == group_numbers
    assert plan.numbers.tolist() == networks
    assert plan.difficulty_ranks == ranks
    assert plan.network_count == np.max(networks) + 1
    assert plan.trainings == (Training(number=0, networks=tuple(range(plan.network_count))),)


@pytest.mark.parametrize("method", ["stdo", "nas"])
def test_fewer_patches_than_groups_use_fewer_networks(method: str) -> None:
    settings = resolve_settings("fast", {"method": method, "groups": {"count": 4}, "training": {"split_over": 4}})
    plan = plan_groups(scores_of([[2.5]]), settings)
    assert plan.network_count == 1
    assert plan.numbers.tolist() == [[0]]
    assert plan.trainings == (Training(number=0, networks=(0,)),)


def test_an_impossible_joint_set_fails_while_planning() -> None:
    settings = resolve_settings("fast", {"method": "jstdo", "training": {"joint_patch_count": 1}})
    with pytest.raises(JointSetSizeError, match=r"2 \(group 0 alone\) to 6"):
        plan_groups(scores_of(np.arange(8).reshape(2, 4)), settings)


@pytest.mark.parametrize("split_over", [1, 2])
def test_a_plan_survives_its_file(tmp_path: Path, split_over: int) -> None:
    settings = resolve_settings("fast", {"groups": {"count": 3}, "training": {"split_over": split_over}})
    plan = plan_groups(scores_of([[9, 8], [7, 6]]), settings)
    plan.save(tmp_path / "plan.npz")
    loaded = GroupPlan.load(tmp_path / "plan.npz")
    assert loaded.group_of_patch.tolist() == plan.group_of_patch.tolist()
    assert loaded.numbers.tolist() == plan.numbers.tolist()
    assert (loaded.trainings, loaded.difficulty_ranks) == (plan.trainings, plan.difficulty_ranks)
