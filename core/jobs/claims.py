"""What passes between the rows and a worker: the part that it holds, the answer to a heartbeat, a part's result."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from core.encoding_settings import EncodingSettings
from core.jobs.bundles import PublishedBundle
from core.tables import JobRow, PartKind, PartRow, QueueName, VideoRow
from stdo.bundle.manifest import Source


@dataclass(frozen=True, kw_only=True)
class Input:
    """An output of an earlier part, in the object store."""

    name: str
    """As in core.jobs.part_kinds.OUTPUT_FILES."""
    prefix: str
    """Where its files lie, with the slash at the end."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A part that a worker holds, with all that it needs to know to carry it out."""

    part_id: str
    token: str
    """Proves that the part is ours; every write carries it."""
    lease: timedelta
    """How long the part is ours without a heartbeat."""
    kind: PartKind
    queue: QueueName
    attempt: int
    """Counts up from 1."""
    video_id: str
    source_sha256: str
    """Of the uploaded file, as it was received."""
    job_id: str | None
    """None for a probe."""
    training_number: int | None
    """For a training: which one, from 0."""
    inputs: tuple[Input, ...]
    """What the part needs."""
    output_prefix: str
    """Where the files go that the part makes. No two attempts have the same at the same time."""
    settings: EncodingSettings | None
    """None for a probe."""
    job_created_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """The answer to a sign of life."""

    lost: bool
    cancel_requested: bool


@dataclass(frozen=True, kw_only=True)
class PartResult:
    """What a worker reports of a part that it has carried out. The files that it makes are in the store by then."""


@dataclass(frozen=True, kw_only=True)
class Made(PartResult):
    """Nothing besides the files."""


@dataclass(frozen=True, kw_only=True)
class Probed(PartResult):
    """What the uploaded file is."""

    source: Source


@dataclass(frozen=True, kw_only=True)
class Planned(PartResult):
    """How many trainings the job has."""

    training_count: int

    def __post_init__(self) -> None:
        if self.training_count < 0:
            raise ValueError(f"a job has no trainings or some: {self.training_count = }")


@dataclass(frozen=True, kw_only=True)
class Finished(PartResult):
    """The bundle, whose objects are all in the store."""

    bundle: PublishedBundle


def claim_of(
    part: PartRow,
    video: VideoRow,
    job: JobRow | None,
    *,
    lease: timedelta,
    inputs: tuple[Input, ...],
    output_prefix: str,
) -> Claim:
    """The claim of a part that was just taken. Raises pydantic.ValidationError for settings that don't validate."""
    assert part.lease_token is not None
    return Claim(
        part_id=part.id,
        token=part.lease_token,
        lease=lease,
        kind=part.kind,
        queue=part.queue,
        attempt=part.attempt,
        video_id=part.video_id,
        source_sha256=video.sha256,
        job_id=part.job_id,
        training_number=part.training_number,
        inputs=inputs,
        output_prefix=output_prefix,
        settings=None if job is None else EncodingSettings.model_validate(job.settings),
        job_created_at=None if job is None else job.created_at,
    )
