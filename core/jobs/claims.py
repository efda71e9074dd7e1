"""What passes between the rows and a worker: the task that it holds, the answer to a heartbeat, a task's result."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from core.jobs.bundles import PublishedBundle
from core.presets import EncodingSettings
from core.tables import JobRow, TaskKind, TaskRow
from stdo.bundle.manifest import Source


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A task that a worker holds, with all that it needs to know to carry it out."""

    task_id: str
    token: str
    """Proves that the task is ours; every write carries it."""
    lease: timedelta
    """How long the task is ours without a heartbeat."""
    kind: TaskKind
    attempt: int
    """Counts up from 1."""
    video_id: str
    job_id: str | None
    """None for probe_video."""
    network_number: int | None
    """For train_network: which one, from 0."""
    settings: EncodingSettings | None
    """None for probe_video."""
    job_created_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """The answer to a sign of life."""

    lost: bool
    cancel_requested: bool


@dataclass(frozen=True, kw_only=True)
class Probed:
    """probe_video: what the file is."""

    source: Source


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """prepare_job: how many networks there are to train; fewer than the settings ask for where patches are few."""

    network_count: int

    def __post_init__(self) -> None:
        if self.network_count < 1:
            raise ValueError(f"a job trains at least one network: {self.network_count = }")


@dataclass(frozen=True, kw_only=True)
class Trained:
    """train_network: its network lies in the job's work folder of the object store."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """finish_job: every object of the bundle is in the store."""

    bundle: PublishedBundle


Result = Probed | Prepared | Trained | Finished


def claim_of(task: TaskRow, job: JobRow | None, *, lease: timedelta) -> Claim:
    """The claim of a task that was just taken. Raises pydantic.ValidationError for settings that don't validate."""
    assert task.lease_token is not None
    return Claim(
        task_id=task.id,
        token=task.lease_token,
        lease=lease,
        kind=task.kind,
        attempt=task.attempt,
        video_id=task.video_id,
        job_id=task.job_id,
        network_number=task.network_number,
        settings=None if job is None else EncodingSettings.model_validate(job.settings),
        job_created_at=None if job is None else job.created_at,
    )
