"""A job's events as they happen. Between two looks at the database no session, connection or thread is held."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import anyio
from anyio import to_thread
from fastapi.sse import ServerSentEvent
from sqlalchemy.orm import Session

from core.callers import Caller
from core.database import Database
from core.errors import JobNotFoundError
from core.jobs import events, jobs
from stdo.service.resources import TERMINAL_JOB_STATES, JobEvent

POLL_SECONDS = 0.5
RECONNECT_MILLISECONDS = 2000


async def follow(database: Database, caller: Caller, job_id: str, *, after: int) -> AsyncIterator[ServerSentEvent]:
    """Events after number `after`, up to the one that ends the job."""
    while True:
        batch, ended = await to_thread.run_sync(events_after, database, caller, job_id, after)
        for event in batch:
            after = event.id
            yield ServerSentEvent(data=event, event=event.type, id=str(event.id), retry=RECONNECT_MILLISECONDS)
        if ended and not batch:
            return
        if not batch:
            await anyio.sleep(POLL_SECONDS)


def events_after(database: Database, caller: Caller, job_id: str, after: int) -> tuple[Sequence[JobEvent], bool]:
    """Events after number `after`, and whether the job has ended (or is gone), so that none will follow these."""
    with database.snapshot() as session:
        # The state first: what ends a job writes the state and the last event together.
        ended = _has_ended(session, caller, job_id)
        return events.list_after(session, caller, job_id, after), ended


def _has_ended(session: Session, caller: Caller, job_id: str) -> bool:
    try:
        return jobs.get(session, caller, job_id).state in TERMINAL_JOB_STATES
    except JobNotFoundError:
        return True
