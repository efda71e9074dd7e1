"""A job's history: numbered without a gap, so that a stream can be resumed after any event."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.callers import Caller
from core.tables import EventRow, EventType, JobRow
from stdo.service.resources import JobEvent, StageProgress

SHORTEST_PROGRESS_INTERVAL = timedelta(seconds=1)


def add_state_event(session: Session, job: JobRow, *, now: datetime, message: str | None = None) -> None:
    """Record the job's present state. The caller holds the job's row."""
    _add(session, job, "state", now, message)


def add_progress_event(session: Session, job: JobRow, *, now: datetime, stage_changed: bool) -> None:
    """Record the job's present progress, at most once a second unless its stage changed."""
    last = job.progress_event_at
    if last is not None and not stage_changed and now - last < SHORTEST_PROGRESS_INTERVAL:
        return
    job.progress_event_at = now
    _add(session, job, "progress", now, None)


def _add(session: Session, job: JobRow, type_: EventType, now: datetime, message: str | None) -> None:
    job.last_event += 1
    session.add(
        EventRow(
            job_id=job.id,
            number=job.last_event,
            tenant=job.tenant,
            type=type_,
            at=now,
            state=job.state,
            stage=job.stage,
            progress=job.progress,
            stage_done=job.stage_done,
            stage_total=job.stage_total,
            stage_unit=job.stage_unit,
            eta_seconds=job.eta_seconds,
            speed=job.speed,
            message=message,
        )
    )


def list_after(session: Session, caller: Caller, job_id: str, last_id: int, *, limit: int = 1000) -> list[JobEvent]:
    """Events of a job that come after number `last_id` (0: all), oldest first. None of a job that isn't there."""
    rows = session.scalars(
        select(EventRow)
        .join(JobRow, JobRow.id == EventRow.job_id)
        .where(JobRow.tenant == caller.tenant, EventRow.job_id == job_id, EventRow.number > last_id)
        .order_by(EventRow.number)
        .limit(limit)
    )
    return [to_resource(row) for row in rows]


def to_resource(row: EventRow) -> JobEvent:
    """The event as the API tells it."""
    return JobEvent(
        id=row.number,
        type=row.type,
        at=row.at,
        state=row.state,
        stage=row.stage,
        progress=row.progress,
        stage_progress=stage_progress(row),
        eta_seconds=row.eta_seconds,
        speed=row.speed,
        message=row.message,
    )


def stage_progress(row: EventRow | JobRow) -> StageProgress | None:
    """How far the row's stage is, where that is known."""
    if row.stage_done is None or row.stage_total is None or row.stage_unit is None:
        return None
    return StageProgress(done=row.stage_done, total=row.stage_total, unit=row.stage_unit)
