"""Objects that nobody needs any more: what passed between the parts of an ended job, bundles that nobody will see, and
what a probe has made of a video that was deleted meanwhile."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.database import Database
from core.jobs import leases
from core.jobs.part_kinds import makes_bundle
from core.storage.keys import bundle_prefix, job_prefixes, video_prefix, work_key
from core.storage.object_store import ObjectStore
from core.tables import BundleRow, JobRow, VideoRow


def remove(database: Database, store: ObjectStore, job_id: str) -> None:
    """Delete what a job has left behind; nothing while it goes on. A bundle that was published stays.

    Raises ObjectStoreUnavailableError, OSError.
    """
    with database.snapshot() as session:
        prefixes = _unneeded_prefixes(session, job_id)
    for prefix in prefixes:
        store.delete_prefix(prefix)


def remove_of_deleted_video(database: Database, store: ObjectStore, video_id: str) -> None:
    """Delete the objects of a video that is not there any more; nothing while it is.

    A probe may store its files after the video and its objects were deleted.

    Raises ObjectStoreUnavailableError, OSError.
    """
    with database.snapshot() as session:
        if session.get(VideoRow, video_id) is not None:
            return
    store.delete_prefix(video_prefix(video_id))


def unswept_jobs(session: Session, *, ended_before: datetime) -> list[str]:
    """The jobs that ended before a moment, and whose leftovers were not deleted since; those that ended first."""
    statement = select(JobRow.id).where(JobRow.finished_at < ended_before, JobRow.swept_at.is_(None))
    return list(session.scalars(statement.order_by(JobRow.finished_at)))


def mark_swept(session: Session, job_id: str, *, now: datetime) -> None:
    """Write down that nothing of a job is left that could be deleted."""
    session.execute(update(JobRow).where(JobRow.id == job_id).values(swept_at=now))


def _unneeded_prefixes(session: Session, job_id: str) -> tuple[str, ...]:
    job = session.get(JobRow, job_id)
    if job is None or job.state in ("failed", "cancelled"):
        return job_prefixes(job_id)
    if job.state != "succeeded":
        return ()
    published = session.get_one(BundleRow, job_id).prefix
    attempts = max(part.attempt for part in leases.parts_of_job(session, job_id) if makes_bundle(part.kind))
    bundles = (bundle_prefix(job_id, attempt) for attempt in range(1, attempts + 1))
    return (work_key(job_id, ""), *(prefix for prefix in bundles if prefix != published))
