from __future__ import annotations

from typing import get_args

import pytest

from core.jobs.part_kinds import (
    EACH_TRAINING,
    JOB_PARTS,
    OUTPUT_FILES,
    PART_KINDS,
    files_of,
    job_states_in_order,
    makes_bundle,
    outputs,
)
from core.tables import PartKind
from stdo.service.resources import JobState, Stage


def test_every_kind_stands_in_the_table() -> None:
    assert tuple(PART_KINDS) == get_args(PartKind)


def test_every_stage_belongs_to_one_kind() -> None:
    stages = [stage for definition in PART_KINDS.values() for stage in definition.stages]
    assert tuple(stages) == get_args(Stage)


def test_the_weights_of_a_jobs_parts_are_one() -> None:
    assert sum(definition.weight for definition in JOB_PARTS) == pytest.approx(1)


def test_what_a_kind_needs_was_made_by_kinds_before_it() -> None:
    made: set[str] = set()
    for definition in PART_KINDS.values():
        assert made.issuperset(definition.needs)
        made.update(definition.makes)
    assert made == set(OUTPUT_FILES)


def test_the_states_of_a_job_follow_from_the_kinds() -> None:
    assert job_states_in_order() == ("queued", "encoding", "planning", "training", "finishing", "succeeded")
    assert {*job_states_in_order(), "failed", "cancelled"} == set(get_args(JobState))


def test_only_networks_hold_a_gpu() -> None:
    queues = {kind: definition.queue for kind, definition in PART_KINDS.items()}
    assert queues == {"probe": "cpu", "encode": "cpu", "plan": "gpu", "train": "gpu", "finish": "cpu"}


def test_a_training_needs_neither_scores_nor_other_trainings() -> None:
    assert PART_KINDS["train"].needs == ("source_info", "base_stream", "plan")


def test_outputs_of_trainings_carry_their_numbers() -> None:
    assert outputs(("plan", EACH_TRAINING), [2]) == ["plan", "training_2"]
    assert outputs(("plan", EACH_TRAINING), range(2)) == ["plan", "training_0", "training_1"]
    assert outputs(("plan", EACH_TRAINING), ()) == ["plan"]


def test_files_of_an_output() -> None:
    assert files_of("source_info") == ("source_info.json", "frame_times.npz")
    assert files_of("training_11") == ("training_11.safetensors",)
    with pytest.raises(KeyError):
        files_of("training_x")


def test_one_kind_makes_the_bundle() -> None:
    assert [kind for kind in PART_KINDS if makes_bundle(kind)] == ["finish"]
