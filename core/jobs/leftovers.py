"""Objects that an ended job leaves behind: what passed between its tasks, and bundles that nobody will see."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.database import Database
from core.jobs import leases
from core.jobs.bundles import bundle_prefix
from core.jobs.jobs import job_prefixes, work_key
from core.storage.object_store import ObjectStore
from core.tables import JobRow


def remove(database: Database, store: ObjectStore, job_id: str) -> None:
    """Delete what a job has left behind; nothing while it goes on. A bundle that was published stays.

    Raises ObjectStoreUnavailableError, OSError.
    """
    with database.snapshot() as session:
        prefixes = _unneeded_prefixes(session, job_id)
    for prefix in prefixes:
        store.delete_prefix(prefix)


def owners(session: Session, *, ended_from: datetime, ended_until: datetime) -> list[str]:
    """The jobs that ended between two moments."""
    statement = select(JobRow.id).where(JobRow.finished_at >= ended_from, JobRow.finished_at < ended_until)
    return list(session.scalars(statement))


def _unneeded_prefixes(session: Session, job_id: str) -> tuple[str, ...]:
    job = session.get(JobRow, job_id)
    if job is None or job.state in ("failed", "cancelled"):
        return job_prefixes(job_id)
    if job.state != "succeeded":
        return ()
    (finish,) = (task for task in leases.tasks_of_job(session, job_id) if task.kind == "finish_job")
    # The bundle that was published is the last attempt's.
    return (work_key(job_id, ""), *(bundle_prefix(job_id, attempt) for attempt in range(1, finish.attempt)))
