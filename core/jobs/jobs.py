"""Jobs: creation, look-up, deletion, and what the API says of them. `core.jobs.job_states` has their lives."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from core.callers import Caller
from core.encoding_settings import EncodingSettings
from core.errors import JobActiveError, JobNotFoundError, VideoRefusedError
from core.jobs import bundles, events, job_flow, paging, videos
from core.storage.keys import job_prefixes
from core.tables import BundleRow, JobRow, new_id
from stdo.service.resources import TERMINAL_JOB_STATES, Failure, Job, JobState, Page


def create(
    session: Session, caller: Caller, *, video_id: str, preset: str, settings: EncodingSettings, now: datetime
) -> JobRow:
    """A new, queued job. It begins once the video was probed, by the newest version of the probe.

    Raises: VideoNotFoundError; VideoRefusedError where that version has found that the video can't be encoded.
    """
    video = videos.get(session, caller, video_id, lock=True)
    if video.refusal is not None and not job_flow.has_outdated_probe(video):
        raise VideoRefusedError(video_id, Failure.model_validate(video.refusal).detail)
    job = JobRow(
        id=new_id(),
        tenant=caller.tenant,
        video_id=video_id,
        preset=preset,
        settings=settings.model_dump(mode="json"),
        created_at=now,
        cancel_requested=False,
        progress=0.0,
        stage_seconds={},
        last_event=0,
    )
    job_flow.start(session, job, video, now=now)
    return job


def get(session: Session, caller: Caller, job_id: str, *, lock: bool = False) -> JobRow:
    """The job; with `lock`, ours until the end of the transaction. Raises JobNotFoundError."""
    job = session.get(JobRow, job_id, with_for_update=True if lock else None)
    if job is None or job.tenant != caller.tenant:
        raise JobNotFoundError(job_id)
    return job


def get_resource(session: Session, caller: Caller, job_id: str) -> Job:
    """The job as the API tells it, with its bundle. Raises JobNotFoundError."""
    job = get(session, caller, job_id)
    return to_resource(job, session.get(BundleRow, job_id))


def list_page(
    session: Session,
    caller: Caller,
    *,
    state: JobState | None = None,
    video_id: str | None = None,
    cursor: str | None = None,
    limit: int = paging.DEFAULT_LIMIT,
) -> Page[Job]:
    """Jobs, newest first; only those in `state` and of `video_id` where given. Raises MalformedCursorError."""
    statement = select(JobRow)
    if state is not None:
        statement = statement.where(JobRow.state == state)
    if video_id is not None:
        statement = statement.where(JobRow.video_id == video_id)
    rows, next_cursor = paging.fetch_page(session, caller, statement, JobRow, cursor=cursor, limit=limit)
    published = _bundles_of(session, rows)
    return Page[Job](items=tuple(to_resource(row, published.get(row.id)) for row in rows), next_cursor=next_cursor)


def _bundles_of(session: Session, rows: Sequence[JobRow]) -> dict[str, BundleRow]:
    found = session.scalars(select(BundleRow).where(BundleRow.job_id.in_([row.id for row in rows])))
    return {bundle.job_id: bundle for bundle in found}


def remove(session: Session, caller: Caller, job_id: str) -> tuple[str, ...]:
    """Delete a job and its bundle; the object prefixes to delete before this is committed.

    Raises: JobNotFoundError; JobActiveError where it has not ended.
    """
    job = get(session, caller, job_id, lock=True)
    if job.state not in TERMINAL_JOB_STATES:
        raise JobActiveError(job_id, job.state)
    session.execute(delete(JobRow).where(JobRow.id == job_id))
    return job_prefixes(job_id)


def to_resource(row: JobRow, bundle: BundleRow | None) -> Job:
    """The job as the API tells it."""
    return Job(
        id=row.id,
        video_id=row.video_id,
        state=row.state,
        stage=row.stage,
        progress=row.progress,
        stage_progress=events.stage_progress(row),
        eta_seconds=row.eta_seconds,
        speed=row.speed,
        preset=row.preset,
        settings=row.settings,
        cancel_requested=row.cancel_requested,
        failure=None if row.failure is None else Failure.model_validate(row.failure),
        stage_seconds=row.stage_seconds,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        bundle=None if bundle is None else bundles.to_summary(bundle),
    )
