from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import nn

from core.encoding_settings import EncodingSettings, SharingName
from core.presets import resolve_settings
from workers.training.sharing import SHARINGS, Run, Training, sharing_of


def settings_of(**overrides: Any) -> EncodingSettings:
    return resolve_settings("fast", overrides)


def test_every_sharing_that_a_method_can_ask_for_is_there() -> None:
    assert tuple(SHARINGS) == get_args(SharingName)


@pytest.mark.parametrize(("method", "networks"), [("stdo", 3), ("jstdo", 1), ("nas", 3), ("awdnn", 1)])
def test_a_method_makes_one_network_a_group_or_one_for_all(method: str, networks: int) -> None:
    groups = {} if method == "awdnn" else {"groups": {"count": 3}}
    assert sharing_of(settings_of(method=method, **groups)).network_count == networks


@pytest.mark.parametrize(
    ("split_over", "networks"),
    [
        (1, [(0, 1, 2, 3)]),
        (2, [(0, 1), (2, 3)]),
        (3, [(0, 1), (2,), (3,)]),
        (4, [(0,), (1,), (2,), (3,)]),
        (9, [(0,), (1,), (2,), (3,)]),
    ],
)
def test_separate_networks_are_split_evenly(split_over: int, networks: list[tuple[int, ...]]) -> None:
    settings = settings_of(training={"split_over": split_over})
    trainings = sharing_of(settings).trainings(4)
    assert [training.networks for training in trainings] == networks
    assert [training.number for training in trainings] == list(range(len(networks)))


def steps(**overrides: Any) -> list[int]:
    settings = settings_of(**overrides)
    sharing = sharing_of(settings)
    trainings = sharing.trainings(sharing.network_count)
    return [run.steps for training in trainings for run in sharing.runs(training)]


def test_steps_are_shared_equally_by_all_networks() -> None:
    assert steps(training={"steps": 10}) == [3, 3, 2, 2]
    assert steps(training={"steps": 10, "split_over": 3}) == [3, 3, 2, 2]
    assert steps(training={"steps": 2}) == [1, 1, 1, 1]
    assert steps(method="jstdo", training={"steps": 10}) == [10]
    assert steps(method="awdnn", training={"steps": 10}) == [10]


def test_a_separate_training_sees_the_groups_of_its_networks() -> None:
    group_of_patch = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    settings = settings_of(groups={"count": 3})
    sharing = sharing_of(settings)
    training = Training(number=0, networks=(0, 2))
    selection = sharing.select(group_of_patch, training, room=99)
    assert selection.numbers.tolist() == [0, 2, 3, 5]
    assert selection.groups.tolist() == [0, 2, 2, 0]
    assert [run.groups for run in sharing.runs(training)] == [{0}, {2}]


def test_the_memory_of_a_training_is_shared_out_fairly_and_thinned_evenly() -> None:
    group_of_patch = np.repeat(np.array([0, 1, 1, 1], np.uint8), 100).reshape(40, 10)
    settings = settings_of(groups={"count": 2})
    selection = sharing_of(settings).select(group_of_patch, Training(number=0, networks=(0, 1)), room=40)
    assert np.bincount(selection.groups).tolist() == [20, 20]
    assert selection.numbers[:20].tolist() == list(range(0, 100, 5))
    assert selection.numbers[20:].tolist() == list(range(100, 400, 15))


def test_the_joint_network_sees_the_joint_set_with_the_labels_of_all_groups() -> None:
    group_of_patch = np.repeat(np.arange(4, dtype=np.uint8), 10).reshape(8, 5)
    settings = settings_of(method="jstdo")
    sharing = sharing_of(settings)
    (training,) = sharing.trainings(1)
    selection = sharing.select(group_of_patch, training, room=99)
    assert np.bincount(selection.groups, minlength=4).tolist() == [10, 7, 3, 0]
    assert np.array_equal(group_of_patch.reshape(-1)[selection.numbers], selection.groups)
    (run,) = sharing.runs(training)
    assert run.groups == {0, 1, 2, 3}
    assert np.unique(sharing.network_numbers(group_of_patch)).tolist() == [0]


def test_a_run_delivers_its_module_under_its_number() -> None:
    settings = settings_of()
    module = nn.Conv2d(3, 3, 1)
    run = Run(number=2, groups=frozenset({2}), steps=1)
    delivered: Mapping[int, nn.Module] = sharing_of(settings).split(run, module)
    assert dict(delivered) == {2: module}
    inputs = torch.rand(2, 3, 4, 4)
    restored = sharing_of(settings).restore(module, inputs, torch.tensor([2, 2], dtype=torch.uint8))
    assert torch.equal(restored, module(inputs))
