"""The pieces of a job, as one table: who works on each, what it needs, what it makes, and how it counts as progress.

    probe (of a video) -> encode -> plan -> train, one a training, in any order -> finish

Nothing else in `core` asks for a kind by its name: states, progress and what follows what come from the table. A new
kind is a row here, its name in `core.tables.PartKind`, and its work in `workers` (docs/ARCHITECTURE.md, How to add).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from core.jobs.claims import Finished, Made, PartResult, Planned, Probed
from core.settings import Settings
from core.tables import PartKind, QueueName
from stdo.service.resources import JobState, Stage

PROBE_VERSION = 1
"""Of what a probe finds out and how it writes that down. Raised with every change of it: a video that an older version
has probed is probed anew before its next job begins."""

EACH_TRAINING = "training_<k>"
"""Stands for one output for each training: its own for a part that is a training, all of them for any other part."""

OUTPUT_FILES: Mapping[str, tuple[str, ...]] = {
    "source_info": ("source_info.json", "frame_times.npz"),
    "base_stream": ("base.mp4", "base.m3u8", "base_stream.json"),
    "plan": ("plan.npz",),
    "scores": ("scores.npz",),
    EACH_TRAINING: ("training_<k>.safetensors",),
}
"""The names in the work folder (workers.work_folder) of the files that make up an output."""


@dataclass(frozen=True, kw_only=True)
class PartDefinition:
    """What all parts of one kind have in common."""

    kind: PartKind
    of: Literal["video", "job"] = "job"
    """What it belongs to. A part of a video serves all jobs of the video."""
    added_by: PartKind | None = None
    """The kind whose result adds it; None where it is there from the start."""
    each_training: bool = False
    """Whether there is one for each training."""
    queue: QueueName
    """Whose workers do it, unless the operator says otherwise."""
    chosen_queue: Callable[[Settings], QueueName] | None = None
    """What the operator says, where that is a setting."""
    job_state: JobState | None
    """The state of the job while it runs; None where it belongs to a video."""
    needs: tuple[str, ...]
    makes: tuple[str, ...]
    """Outputs, by their names in OUTPUT_FILES."""
    needs_source: bool = True
    """Whether it reads the uploaded file."""
    result: type[PartResult]
    """What its worker reports at the end."""
    stages: Mapping[Stage, float]
    """What it does, in order, with the weight of each. The weights of a job's parts add up to 1: a convention, so that
    progress is comparable, not a forecast of time."""
    forecasts: bool = False
    """Whether its speed tells when the job will end. Nothing tells it before the training."""

    @property
    def weight(self) -> float:
        """Share of a job's progress of all parts of this kind together."""
        return sum(self.stages.values())


_DEFINITIONS = (
    PartDefinition(
        kind="probe",
        of="video",
        queue="cpu",
        job_state=None,
        needs=(),
        makes=("source_info",),
        result=Probed,
        stages={"probe": 1.0},
    ),
    PartDefinition(
        kind="encode",
        queue="cpu",
        job_state="encoding",
        needs=("source_info",),
        makes=("base_stream",),
        result=Made,
        stages={"encode": 0.06},
    ),
    PartDefinition(
        kind="plan",
        queue="gpu",
        job_state="planning",
        needs=("source_info", "base_stream"),
        makes=("plan", "scores"),
        result=Planned,
        stages={"score": 0.08, "group": 0.01},
    ),
    PartDefinition(
        kind="train",
        added_by="plan",
        each_training=True,
        queue="gpu",
        job_state="training",
        needs=("source_info", "base_stream", "plan"),
        makes=(EACH_TRAINING,),
        result=Made,
        stages={"train": 0.65},
        forecasts=True,
    ),
    PartDefinition(
        kind="finish",
        added_by="plan",
        queue="cpu",
        chosen_queue=lambda settings: settings.finish_queue,
        job_state="finishing",
        needs=("source_info", "base_stream", "plan", "scores", EACH_TRAINING),
        makes=(),
        result=Finished,
        stages={"export": 0.02, "measure": 0.15, "publish": 0.03},
        forecasts=True,
    ),
)

PART_KINDS: Mapping[PartKind, PartDefinition] = {definition.kind: definition for definition in _DEFINITIONS}
"""In the order in which they follow each other."""

JOB_PARTS: Sequence[PartDefinition] = tuple(definition for definition in _DEFINITIONS if definition.of == "job")


def job_states_in_order() -> tuple[JobState, ...]:
    """The states of a job on its way to success."""
    return ("queued", *dict.fromkeys(each.job_state for each in JOB_PARTS if each.job_state), "succeeded")


def chosen_queues(settings: Settings) -> Mapping[PartKind, QueueName]:
    """The queues of those kinds whose queue is a setting."""
    return {each.kind: each.chosen_queue(settings) for each in PART_KINDS.values() if each.chosen_queue is not None}


def makes_bundle(kind: PartKind) -> bool:
    """Whether parts of this kind put bundles into the store."""
    return PART_KINDS[kind].result is Finished


def outputs(names: Iterable[str], training_numbers: Iterable[int]) -> list[str]:
    """The names with each `training_<k>` replaced by one name for each of these trainings."""
    numbers = list(training_numbers)
    return [
        name
        for pattern in names
        for name in ([_numbered(pattern, number) for number in numbers] if pattern == EACH_TRAINING else [pattern])
    ]


def files_of(output: str) -> tuple[str, ...]:
    """The names of the files that make up an output."""
    training = re.fullmatch(r"training_(\d+)", output)
    if training is None:
        return OUTPUT_FILES[output]
    return tuple(_numbered(name, int(training[1])) for name in OUTPUT_FILES[EACH_TRAINING])


def _numbered(pattern: str, training_number: int) -> str:
    return pattern.replace("<k>", str(training_number))
