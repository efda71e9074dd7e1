"""Uploaded videos: creation, look-up, deletion, and what the API says of them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from core.callers import Caller
from core.errors import VideoInUseError, VideoNotFoundError
from core.jobs import job_flow, paging
from core.storage.keys import job_prefixes, video_prefix
from core.tables import JobRow, VideoRow, new_id
from stdo.bundle.manifest import Source
from stdo.service.resources import TERMINAL_JOB_STATES, Failure, Page, Video, VideoState


def create(
    session: Session,
    caller: Caller,
    *,
    video_id: str | None = None,
    file_name: str,
    byte_count: int,
    sha256: str,
    now: datetime,
) -> VideoRow:
    """Record an upload whose bytes are in the store, and have it probed.

    `video_id` is the one, from core.tables.new_id(), under which the bytes were stored.
    """
    video = VideoRow(
        id=video_id or new_id(),
        tenant=caller.tenant,
        state="uploaded",
        file_name=file_name,
        byte_count=byte_count,
        sha256=sha256,
        created_at=now,
    )
    session.add(video)
    session.flush()
    job_flow.add_probe(session, video, now=now)
    return video


def get(session: Session, caller: Caller, video_id: str, *, lock: bool = False) -> VideoRow:
    """The video; with `lock`, ours until the end of the transaction. Raises VideoNotFoundError."""
    video = session.get(VideoRow, video_id, with_for_update=True if lock else None)
    if video is None or video.tenant != caller.tenant:
        raise VideoNotFoundError(video_id)
    return video


def list_page(
    session: Session,
    caller: Caller,
    *,
    state: VideoState | None = None,
    cursor: str | None = None,
    limit: int = paging.DEFAULT_LIMIT,
) -> Page[Video]:
    """Videos, newest first; only those in `state` where it is given. Raises MalformedCursorError."""
    statement = select(VideoRow)
    if state is not None:
        statement = statement.where(VideoRow.state == state)
    rows, next_cursor = paging.fetch_page(session, caller, statement, VideoRow, cursor=cursor, limit=limit)
    return Page[Video](items=tuple(to_resource(row) for row in rows), next_cursor=next_cursor)


def remove(session: Session, caller: Caller, video_id: str) -> tuple[str, ...]:
    """Delete a video, its ended jobs and their bundles; the object prefixes to delete before this is committed.

    Raises: VideoNotFoundError; VideoInUseError where a job has not ended.
    """
    get(session, caller, video_id, lock=True)
    jobs = session.scalars(select(JobRow).where(JobRow.video_id == video_id)).all()
    active = tuple(job.id for job in jobs if job.state not in TERMINAL_JOB_STATES)
    if active:
        raise VideoInUseError(video_id, active)
    session.execute(delete(VideoRow).where(VideoRow.id == video_id))
    return (video_prefix(video_id), *(prefix for job in jobs for prefix in job_prefixes(job.id)))


def to_resource(row: VideoRow) -> Video:
    """The video as the API tells it."""
    source = None if row.source is None else Source.model_validate(row.source)
    return Video(
        id=row.id,
        state=row.state,
        file_name=row.file_name,
        byte_count=row.byte_count,
        sha256=row.sha256,
        created_at=row.created_at,
        source=source,
        input_normalisations=() if source is None else source.input_normalisations,
        refusal=None if row.refusal is None else Failure.model_validate(row.refusal),
    )
