"""How far a part is and how fast it goes: arithmetic on numbers, no rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from core.jobs.part_kinds import PART_KINDS
from core.tables import PartKind
from stdo.service.resources import ProgressUnit, Stage

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


def part_fraction(kind: PartKind, report: StageReport) -> float:
    """0 to 1 of a part: its earlier stages are complete, its later ones untouched."""
    definition = PART_KINDS[kind]
    weights = definition.stages
    if report.stage not in weights:
        raise ValueError(f"{kind} has no stage {report.stage}; its stages are {', '.join(weights)}")
    stages = list(weights)
    before = sum(weights[stage] for stage in stages[: stages.index(report.stage)])
    return (before + weights[report.stage] * report.fraction) / definition.weight


def smoothed_speed(previous: float | None, *, units: int, seconds: float) -> float:
    """Units a second, after `units` more in `seconds` (> 0): an exponential moving average over time."""
    reading = units / seconds
    if previous is None:
        return reading
    kept = math.exp(-seconds / SPEED_MEMORY_SECONDS)
    return previous * kept + reading * (1.0 - kept)


def weight_before(kind: PartKind, stage: Stage) -> float:
    """Share of a job's progress of everything before a stage."""
    total = 0.0
    for definition in PART_KINDS.values():
        if definition.of == "video":
            continue
        for other, weight in definition.stages.items():
            if (definition.kind, other) == (kind, stage):
                return total
            total += weight
    raise ValueError(f"{kind} has no stage {stage}")
