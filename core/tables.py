"""The database's tables. Rows are written by the modules of `core` alone; nothing here decides anything."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal
from uuid import uuid4

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, ForeignKey, Index, MetaData, String, Text, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from stdo.service.resources import JobState, ProgressUnit, Stage, VideoState

PartKind = Literal["probe", "encode", "plan", "train", "finish"]
"""core.jobs.part_kinds has what each one is."""
PartState = Literal["waiting", "queued", "running", "succeeded", "failed", "cancelled"]
QueueName = Literal["cpu", "gpu"]
EventType = Literal["state", "progress"]

Identifier = String(32)
Word = String(32)


def new_id() -> str:
    """A fresh identifier: 32 hexadecimal digits."""
    return uuid4().hex


class UtcDateTime(TypeDecorator[datetime]):
    """A moment with its zone, on both databases. SQLite has no such type and keeps UTC without saying so."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """To UTC, on its way into the database. Raises ValueError for a moment without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a moment without a time zone can't be stored: {value!r}")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """To UTC, on its way out of the database."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Base of all tables. Constraints have names, so that a migration can change them on either database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads this class attribute.
        datetime: UtcDateTime(),
        str: Text(),
        dict[str, Any]: JSON(none_as_null=True),
        list[dict[str, Any]]: JSON(none_as_null=True),
        dict[str, float]: JSON(none_as_null=True),
        list[str]: JSON(none_as_null=True),
        VideoState: Word,
        JobState: Word,
        Stage: Word,
        ProgressUnit: Word,
        PartKind: Word,
        PartState: Word,
        QueueName: Word,
        EventType: Word,
    }


class VideoRow(Base):
    """An uploaded video. Its bytes lie in the object store under videos/<id>/source.

    `core.jobs.job_states` alone changes it.
    """

    __tablename__ = "videos"
    __table_args__ = (Index(None, "tenant", "created_at", "id"),)

    id: Mapped[str] = mapped_column(Identifier, primary_key=True, default=new_id)
    tenant: Mapped[str] = mapped_column(Word)
    state: Mapped[VideoState]
    file_name: Mapped[str]
    """As the caller named it: shown, never used as a path."""
    byte_count: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    source: Mapped[dict[str, Any] | None]
    """stdo.bundle.manifest.Source, once probed."""
    refusal: Mapped[dict[str, Any] | None]
    """stdo.service.resources.Failure, where refused."""
    probe_version: Mapped[int | None]
    """core.jobs.part_kinds.PROBE_VERSION of the probe that found out the two above; null before the first."""
    probe_prefix: Mapped[str | None]
    """Where the files lie that this probe made, in the object store; null where refused."""


class JobRow(Base):
    """One encode of one video. The modules of `core.jobs` alone change it, and its state `core.jobs.job_flow` alone."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index(None, "tenant", "created_at", "id"),
        Index(None, "video_id"),
        Index(None, "swept_at", "finished_at"),
    )

    id: Mapped[str] = mapped_column(Identifier, primary_key=True, default=new_id)
    tenant: Mapped[str] = mapped_column(Word)
    video_id: Mapped[str] = mapped_column(Identifier, ForeignKey("videos.id", ondelete="CASCADE"))
    state: Mapped[JobState]
    preset: Mapped[str]
    settings: Mapped[dict[str, Any]]
    """core.encoding_settings.EncodingSettings, resolved."""
    probe_prefix: Mapped[str | None]
    """The video's, from the moment when the job could begin: all its parts read the same. Null while it waits for a
    probe."""
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    failure: Mapped[dict[str, Any] | None]
    """stdo.service.resources.Failure, where failed."""
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    swept_at: Mapped[datetime | None]
    """When what an ended job left behind was deleted for good."""

    stage: Mapped[Stage | None]
    """Of the part that runs; null while none does."""
    progress: Mapped[float] = mapped_column(default=0.0)
    """0 to 1; never goes back."""
    stage_done: Mapped[int | None] = mapped_column(BigInteger)
    stage_total: Mapped[int | None] = mapped_column(BigInteger)
    stage_unit: Mapped[ProgressUnit | None]
    speed: Mapped[float | None]
    """Units of the stage a second, over the parts that are running."""
    eta_seconds: Mapped[float | None]
    stage_seconds: Mapped[dict[str, float]] = mapped_column(default=dict)
    last_event: Mapped[int] = mapped_column(default=0)
    """Number of the newest event of this job."""
    progress_event_at: Mapped[datetime | None]
    """When the newest progress event was written: they are throttled."""


class PartRow(Base):
    """One piece of a job, or the probe of a video: work for one worker.

    The modules of `core.jobs` alone change it, and its state `core.jobs.leases` alone.

    waiting: something that it needs was not made yet. queued: anyone may claim it. running: somebody holds its lease.
    """

    __tablename__ = "parts"
    __table_args__ = (
        Index(None, "state", "lease_expires_at"),
        Index(None, "state", "queue"),
        Index(None, "job_id"),
        Index(None, "video_id"),
    )

    id: Mapped[str] = mapped_column(Identifier, primary_key=True, default=new_id)
    tenant: Mapped[str] = mapped_column(Word)
    """Whose video it is."""
    kind: Mapped[PartKind]
    queue: Mapped[QueueName]
    video_id: Mapped[str] = mapped_column(Identifier, ForeignKey("videos.id", ondelete="CASCADE"))
    job_id: Mapped[str | None] = mapped_column(Identifier, ForeignKey("jobs.id", ondelete="CASCADE"))
    """Null for a probe, which belongs to the video alone."""
    training_number: Mapped[int | None]
    """For a training: which one of the job's, from 0."""
    needs: Mapped[list[str]]
    """Names of the outputs without which it can't begin."""
    makes: Mapped[list[str]]
    """Names of the outputs that are there once it has succeeded."""
    state: Mapped[PartState]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]

    attempt: Mapped[int] = mapped_column(default=0)
    """Claims so far; a claim that a worker gave back unused does not count."""
    lease_token: Mapped[str | None] = mapped_column(Identifier)
    """Secret of the present holder: every write of a worker carries it."""
    lease_expires_at: Mapped[datetime | None]
    not_before: Mapped[datetime]
    """Not sent again earlier than this: a pause after a failure of the machinery."""
    last_sent_at: Mapped[datetime | None]

    fraction: Mapped[float] = mapped_column(default=0.0)
    """0 to 1 of this part, in its present attempt."""
    stage: Mapped[Stage | None]
    stage_started_at: Mapped[datetime | None]
    stage_done: Mapped[int | None] = mapped_column(BigInteger)
    stage_total: Mapped[int | None] = mapped_column(BigInteger)
    stage_unit: Mapped[ProgressUnit | None]
    progressed_at: Mapped[datetime | None]
    """When stage_done last grew."""
    speed: Mapped[float | None]
    """Units of the stage a second, smoothed."""


class EventRow(Base):
    """One line of a job's history."""

    __tablename__ = "events"

    job_id: Mapped[str] = mapped_column(Identifier, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Counts up within the job, from 1, without a gap."""
    tenant: Mapped[str] = mapped_column(Word)
    """Whose job it is."""
    type: Mapped[EventType]
    at: Mapped[datetime]
    state: Mapped[JobState]
    stage: Mapped[Stage | None]
    progress: Mapped[float]
    stage_done: Mapped[int | None] = mapped_column(BigInteger)
    stage_total: Mapped[int | None] = mapped_column(BigInteger)
    stage_unit: Mapped[ProgressUnit | None]
    eta_seconds: Mapped[float | None]
    speed: Mapped[float | None]
    message: Mapped[str | None]


class BundleRow(Base):
    """A published bundle: the row is written after its last object, and makes it visible."""

    __tablename__ = "bundles"

    job_id: Mapped[str] = mapped_column(Identifier, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    tenant: Mapped[str] = mapped_column(Word)
    """Whose job it is."""
    prefix: Mapped[str]
    """Where its files lie in the object store, with the slash at the end."""
    created_at: Mapped[datetime]
    files: Mapped[list[dict[str, Any]]]
    """stdo.bundle.manifest.FileEntry of every file, the manifest's own first."""
    bytes: Mapped[dict[str, Any]]
    quality: Mapped[dict[str, Any]]


class ApiKeyRow(Base):
    """An API key. The key itself is shown once and not kept."""

    __tablename__ = "api_keys"
    __table_args__ = (Index(None, "tenant", "created_at", "id"),)

    id: Mapped[str] = mapped_column(Identifier, primary_key=True, default=new_id)
    tenant: Mapped[str] = mapped_column(Word)
    name: Mapped[str]
    secret_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class IdempotencyKeyRow(Base):
    """A request that was answered, under the key that its sender gave it."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index(None, "created_at"),)

    tenant: Mapped[str] = mapped_column(Word, primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    """core.jobs.idempotency.request_fingerprint()"""
    resource_id: Mapped[str] = mapped_column(Identifier)
    """Of the video or the job that the request made."""
    created_at: Mapped[datetime]
