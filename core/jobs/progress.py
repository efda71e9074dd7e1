"""How far a job is, how fast it goes, and when it may end: arithmetic on numbers, no rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from core.tables import TaskKind
from stdo.service.resources import ProgressUnit, Stage

STAGE_WEIGHTS: Mapping[Stage, float] = {
    "probe": 0.01,
    "base_stream": 0.05,
    "score": 0.08,
    "groups": 0.01,
    "train": 0.65,
    "export": 0.02,
    "evaluate": 0.15,
    "publish": 0.03,
}
"""Each stage's share of a job's progress. A convention, so that progress is comparable: not a forecast of time."""

STAGES_OF_TASK: Mapping[TaskKind, tuple[Stage, ...]] = {
    "probe_video": ("probe",),
    "prepare_job": ("probe", "base_stream", "score", "groups"),
    "train_network": ("train",),
    "finish_job": ("export", "evaluate", "publish"),
}

SPEED_MEMORY_SECONDS = 15.0
"""A reading of the speed this old still counts 1/e."""


@dataclass(frozen=True, kw_only=True)
class StageReport:
    """What a worker says of the stage that it is in."""

    stage: Stage
    done: int
    total: int
    unit: ProgressUnit

    def __post_init__(self) -> None:
        if not 0 <= self.done <= self.total:
            raise ValueError(f"done lies between 0 and total: {self.done = }, {self.total = }")

    @property
    def fraction(self) -> float:
        """0 to 1 of the stage. A stage without any unit of work has nothing left to do."""
        return self.done / self.total if self.total else 1.0


def task_fraction(kind: TaskKind, report: StageReport) -> float:
    """0 to 1 of a task: its earlier stages are complete, its later ones untouched."""
    stages = STAGES_OF_TASK[kind]
    if report.stage not in stages:
        raise ValueError(f"{kind} has no stage {report.stage}; its stages are {', '.join(stages)}")
    place = stages.index(report.stage)
    before = sum(STAGE_WEIGHTS[stage] for stage in stages[:place])
    whole = sum(STAGE_WEIGHTS[stage] for stage in stages)
    return (before + STAGE_WEIGHTS[report.stage] * report.fraction) / whole


def job_fraction(*, prepare: float, train: Sequence[float], finish: float) -> float:
    """0 to 1 of a job, from the fractions of its tasks; `train` has one for each network (none before they exist)."""
    trained = sum(train) / len(train) if train else 0.0
    return prepare * _share("prepare_job") + trained * _share("train_network") + finish * _share("finish_job")


def _share(kind: TaskKind) -> float:
    return sum(STAGE_WEIGHTS[stage] for stage in STAGES_OF_TASK[kind])


def smoothed_speed(previous: float | None, *, units: int, seconds: float) -> float:
    """Units a second, after `units` more in `seconds` (> 0): an exponential moving average over time."""
    reading = units / seconds
    if previous is None:
        return reading
    kept = math.exp(-seconds / SPEED_MEMORY_SECONDS)
    return previous * kept + reading * (1.0 - kept)


@dataclass(frozen=True, kw_only=True)
class NetworkProgress:
    """How far one network's training is. `speed` in steps a second, null where nobody trains it or nothing is known."""

    fraction: float
    total: int | None
    speed: float | None


def training_eta_seconds(networks: Sequence[NetworkProgress], *, started_at: datetime, now: datetime) -> float | None:
    """Seconds until the job's end while its networks are trained; null while their speed is not known.

    What is left of the training follows from the present speed. The stages after it are taken to be as slow, by
    weight, as the job was up to then.
    """
    rate = sum(network.speed / network.total for network in networks if network.speed and network.total)
    if not rate:
        return None
    left = sum(1.0 - network.fraction for network in networks) / rate
    at_end = job_fraction(prepare=1.0, train=[1.0], finish=0.0)
    return left + (1.0 - at_end) / at_end * ((now - started_at).total_seconds() + left)


def finishing_eta_seconds(
    report: StageReport, speed: float | None, *, started_at: datetime, now: datetime
) -> float | None:
    """Seconds until the job's end in a stage after training.

    What is left of the stage follows from its speed, or from its weight where no speed is known yet; what comes after
    it, from its weight: as slow as the job was up to then.
    """
    elapsed = (now - started_at).total_seconds()
    stages = STAGES_OF_TASK["finish_job"]
    later = stages[stages.index(report.stage) + 1 :]
    weight_later = sum(STAGE_WEIGHTS[stage] for stage in later)
    weight_left = STAGE_WEIGHTS[report.stage] * (1.0 - report.fraction)
    seconds_per_weight = elapsed / (1.0 - weight_later - weight_left)
    left = (report.total - report.done) / speed if speed else weight_left * seconds_per_weight
    return left + weight_later * seconds_per_weight
