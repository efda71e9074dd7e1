from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.presets import resolve_settings
from workers.training.groups import GroupPlan, group_sizes, plan_groups, split_by_psnr, split_by_time
from workers.training.joint_set import JointSetSizeError
from workers.training.score import PatchScores


def scores_of(mse: object) -> PatchScores:
    return PatchScores(mse=np.asarray(mse, dtype=np.float32), f0_frames=())


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
    ("method", "groups", "networks"),
    [
        ("stdo", [[0, 0], [1, 1], [2, 2]], [[0, 0], [1, 1], [2, 2]]),
        ("jstdo", [[0, 0], [1, 1], [2, 2]], [[0, 0]] * 3),
        ("nas", [[0, 0], [1, 1], [2, 2]], [[0, 0], [1, 1], [2, 2]]),
        ("awdnn", [[0, 0]] * 3, [[0, 0]] * 3),
    ],
)
def test_the_method_decides_groups_and_networks(
    method: str, groups: list[list[int]], networks: list[list[int]]
) -> None:
    settings = resolve_settings("fast", {"method": method, "groups": {"count": 3}})
    plan = plan_groups(scores_of([[9, 8], [7, 6], [5, 4]]), settings)
    assert plan.group_of_patch.tolist() == groups
    assert plan.network_of_patch.tolist() == networks
    assert plan.used_network_count == np.max(networks) + 1


@pytest.mark.parametrize("method", ["stdo", "nas"])
def test_fewer_patches_than_groups_use_fewer_networks(method: str) -> None:
    settings = resolve_settings("fast", {"method": method, "groups": {"count": 4}})
    plan = plan_groups(scores_of([[2.5]]), settings)
    assert plan.used_network_count == 1
    assert plan.network_of_patch.tolist() == [[0]]


def test_an_impossible_joint_set_fails_while_planning() -> None:
    settings = resolve_settings("fast", {"method": "jstdo", "training": {"joint_patch_count": 1}})
    with pytest.raises(JointSetSizeError, match=r"2 \(group 0 alone\) to 6"):
        plan_groups(scores_of(np.arange(8).reshape(2, 4)), settings)


def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    plan = plan_groups(scores_of([[9, 8], [7, 6]]), resolve_settings("fast", {"groups": {"count": 2}}))
    plan.save(tmp_path / "plan.npz")
    loaded = GroupPlan.load(tmp_path / "plan.npz")
    assert loaded.group_of_patch.tolist() == plan.group_of_patch.tolist()
    assert loaded.network_of_patch.tolist() == plan.network_of_patch.tolist()
