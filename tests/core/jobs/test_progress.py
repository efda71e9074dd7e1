from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.jobs.progress import (
    STAGE_WEIGHTS,
    STAGES_OF_TASK,
    NetworkProgress,
    StageReport,
    finishing_eta_seconds,
    job_fraction,
    smoothed_speed,
    task_fraction,
    training_eta_seconds,
)
from core.tables import TaskKind
from stdo.service.resources import STAGES
from tests.core.samples import NOON, after


def test_every_stage_has_a_weight() -> None:
    assert tuple(STAGE_WEIGHTS) == STAGES
    assert sum(STAGE_WEIGHTS.values()) == pytest.approx(1)
    of_job = [STAGES_OF_TASK[kind] for kind in ("encode", "train", "finish")]
    assert tuple(stage for stages in of_job for stage in stages) == STAGES


@pytest.mark.parametrize(("done", "total"), [(-1, 10), (11, 10), (1, 0)])
def test_a_report_is_within_its_stage(done: int, total: int) -> None:
    with pytest.raises(ValueError, match="between 0 and total"):
        StageReport(stage="train", done=done, total=total, unit="steps")


def test_a_stage_without_work_is_done() -> None:
    assert StageReport(stage="export", done=0, total=0, unit="files").fraction == 1.0


@pytest.mark.parametrize("kind", list(STAGES_OF_TASK))
def test_a_task_goes_from_nothing_to_all(kind: TaskKind) -> None:
    fractions = [
        task_fraction(kind, StageReport(stage=stage, done=done, total=4, unit="frames"))
        for stage in STAGES_OF_TASK[kind]
        for done in range(5)
    ]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0.0
    assert fractions[-1] == pytest.approx(1.0)


def test_a_task_has_its_own_stages_alone() -> None:
    with pytest.raises(ValueError, match="train_network has no stage probe"):
        task_fraction("train", StageReport(stage="probe", done=0, total=1, unit="frames"))


def test_a_job_is_the_sum_of_its_tasks() -> None:
    assert job_fraction(prepare=0, train=[], finish=0) == 0
    assert job_fraction(prepare=1, train=[], finish=0) == pytest.approx(0.15)
    assert job_fraction(prepare=1, train=[1, 0, 0.5, 0.5], finish=0) == pytest.approx(0.15 + 0.325)
    assert job_fraction(prepare=1, train=[1], finish=1) == pytest.approx(1)


@given(
    speeds=st.lists(st.tuples(st.integers(1, 1000), st.floats(0.1, 100)), min_size=1, max_size=20),
)
def test_the_smoothed_speed_lies_between_the_readings(speeds: list[tuple[int, float]]) -> None:
    readings = [units / seconds for units, seconds in speeds]
    speed = None
    for units, seconds in speeds:
        speed = smoothed_speed(speed, units=units, seconds=seconds)
    assert speed is not None
    assert min(readings) * (1 - 1e-9) <= speed <= max(readings) * (1 + 1e-9)


def test_the_smoothed_speed_forgets() -> None:
    speed = smoothed_speed(None, units=1000, seconds=1)
    for _ in range(100):
        speed = smoothed_speed(speed, units=10, seconds=1)
    assert speed == pytest.approx(10, rel=0.2)


class TestTrainingEta:
    def test_of_one_network_at_half(self) -> None:
        network = NetworkProgress(fraction=0.5, total=1000, speed=10)
        eta = training_eta_seconds([network], started_at=NOON, now=after(30))
        # 50 s of training, then a fifth of the weight at the pace of the 80 s before.
        assert eta == pytest.approx(50 + 20)

    def test_counts_networks_that_wait(self) -> None:
        networks = [
            NetworkProgress(fraction=0.0, total=1000, speed=10),
            NetworkProgress(fraction=0.0, total=None, speed=None),
        ]
        assert training_eta_seconds(networks, started_at=NOON, now=NOON) == pytest.approx(200 + 50)

    def test_of_two_workers_is_half(self) -> None:
        networks = [NetworkProgress(fraction=0.0, total=1000, speed=10)] * 2
        assert training_eta_seconds(networks, started_at=NOON, now=NOON) == pytest.approx(100 + 25)

    def test_is_unknown_without_a_speed(self) -> None:
        networks = [NetworkProgress(fraction=0.5, total=1000, speed=None)]
        assert training_eta_seconds(networks, started_at=NOON, now=after(30)) is None


class TestFinishingEta:
    def test_follows_from_the_speed(self) -> None:
        report = StageReport(stage="evaluate", done=50, total=100, unit="frames")
        eta = finishing_eta_seconds(report, 5.0, started_at=NOON, now=after(895))
        # 10 s of evaluating, then 0.03 at the pace of 895 s for 0.895.
        assert eta == pytest.approx(10 + 30)

    def test_follows_from_the_weight_without_a_speed(self) -> None:
        report = StageReport(stage="evaluate", done=0, total=100, unit="frames")
        eta = finishing_eta_seconds(report, None, started_at=NOON, now=after(820))
        assert eta == pytest.approx(150 + 30)

    def test_ends_with_nothing(self) -> None:
        report = StageReport(stage="publish", done=3, total=3, unit="files")
        assert finishing_eta_seconds(report, 1.0, started_at=NOON, now=after(100)) == pytest.approx(0)
