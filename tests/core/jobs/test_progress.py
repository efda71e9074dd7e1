from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.jobs.part_kinds import PART_KINDS
from core.jobs.progress import StageReport, part_fraction, smoothed_speed, weight_before
from core.tables import PartKind


@pytest.mark.parametrize(("done", "total"), [(-1, 10), (11, 10), (1, 0)])
def test_a_report_is_within_its_stage(done: int, total: int) -> None:
    with pytest.raises(ValueError, match="between 0 and total"):
        StageReport(stage="train", done=done, total=total, unit="steps")


def test_a_stage_without_work_is_done() -> None:
    assert StageReport(stage="export", done=0, total=0, unit="files").fraction == 1.0


@pytest.mark.parametrize("kind", list(PART_KINDS))
def test_a_part_goes_from_nothing_to_all(kind: PartKind) -> None:
    fractions = [
        part_fraction(kind, StageReport(stage=stage, done=done, total=4, unit="frames"))
        for stage in PART_KINDS[kind].stages
        for done in range(5)
    ]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0.0
    assert fractions[-1] == pytest.approx(1.0)


def test_a_part_has_its_own_stages_alone() -> None:
    with pytest.raises(ValueError, match="train has no stage probe"):
        part_fraction("train", StageReport(stage="probe", done=0, total=1, unit="frames"))


def test_the_weight_before_a_stage() -> None:
    assert weight_before("encode", "encode") == 0
    assert weight_before("train", "train") == pytest.approx(0.15)
    assert weight_before("finish", "measure") == pytest.approx(0.82)
    with pytest.raises(ValueError, match="train has no stage measure"):
        weight_before("train", "measure")


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
