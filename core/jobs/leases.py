"""Who works on which part: the only writer of `parts.state`.

take(), extend(), hold() and seize() are compare-and-sets (UPDATE ... WHERE state and token), so that of two workers
exactly one wins, on SQLite and PostgreSQL alike. The winner holds the row until the end of its transaction, and may
change it by plain assignment. `core.jobs.job_states` decides what follows for the job, and holds its row meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, func, or_, select, update
from sqlalchemy.orm import Session

from core.errors import LeaseLostError
from core.jobs.part_kinds import PART_KINDS, PartDefinition, outputs
from core.outbox import send_after_commit
from core.tables import JobRow, PartRow, PartState, QueueName, new_id

_NO_PROGRESS: Mapping[str, Any] = {
    "fraction": 0.0,
    "stage": None,
    "stage_started_at": None,
    "stage_done": None,
    "stage_total": None,
    "stage_unit": None,
    "progressed_at": None,
    "speed": None,
}


def add_part(
    session: Session,
    definition: PartDefinition,
    *,
    tenant: str,
    video_id: str,
    job_id: str | None,
    queue: QueueName | None = None,
    training_number: int | None = None,
    training_numbers: Iterable[int] = (),
    now: datetime,
) -> PartRow:
    """A new part, which waits for what it needs.

    Args:
        queue: the definition's where None.
        training_number: for a part that is a training.
        training_numbers: for any other: of all trainings of the job.
    """
    numbers = training_numbers if training_number is None else (training_number,)
    part = PartRow(
        id=new_id(),
        tenant=tenant,
        kind=definition.kind,
        queue=queue or definition.queue,
        video_id=video_id,
        job_id=job_id,
        training_number=training_number,
        needs=outputs(definition.needs, numbers),
        makes=outputs(definition.makes, numbers),
        state="waiting",
        created_at=now,
        not_before=now,
    )
    session.add(part)
    return part


def queue_part(session: Session, part: PartRow, *, now: datetime) -> None:
    """Let anyone claim a part, and tell the workers after the commit. The caller holds the job's row, or the part."""
    part.state = "queued"
    part.last_sent_at = now
    session.flush()
    send_after_commit(session, part)


def take(session: Session, part_id: str, *, now: datetime, lease: timedelta) -> PartRow | None:
    """Make a queued part ours under a fresh token; None where somebody else was faster, or it is gone."""
    values = {
        **_NO_PROGRESS,
        "state": "running",
        "attempt": PartRow.attempt + 1,
        "lease_token": new_id(),
        "lease_expires_at": now + lease,
    }
    return _change(session, part_id, PartRow.state == "queued", values)


def extend(session: Session, part_id: str, token: str, *, now: datetime, lease: timedelta) -> PartRow | None:
    """Hold a part for longer; None where the lease was lost. An expired lease that nobody took back is still ours."""
    return _change(session, part_id, _held(token), {"lease_expires_at": now + lease})


def hold(session: Session, part_id: str, token: str) -> PartRow:
    """The part, if it is still ours, locked for this transaction. Raises LeaseLostError."""
    part = _change(session, part_id, _held(token), {"lease_token": token})
    if part is None:
        raise LeaseLostError(part_id)
    return part


def end(part: PartRow, state: PartState, *, now: datetime) -> None:
    """End a part that we hold."""
    part.state = state
    part.finished_at = now
    part.lease_token = part.lease_expires_at = part.speed = None


def give_back(session: Session, part: PartRow, *, now: datetime, pause: timedelta, used: bool) -> None:
    """Let others claim a part that we hold, at once or after a pause.

    Without a pause the workers are told after the commit; with one, `core.jobs.housekeeping` tells them later.

    Args:
        used: whether the attempt counts. Where it does not, the next attempt gets the same number. That does no harm:
            whoever gives a part back like this has stopped working on it, so that no two attempts with one number run
            at the same time.
    """
    part.lease_token = part.lease_expires_at = None
    for name, value in _NO_PROGRESS.items():
        setattr(part, name, value)
    if not used:
        part.attempt -= 1
    part.not_before = now + pause
    if pause:
        part.state, part.last_sent_at = "queued", None
    else:
        queue_part(session, part, now=now)


def cancel_unclaimed(session: Session, job_id: str, *, now: datetime) -> None:
    """End those parts of a job that nobody holds. The caller holds the job's row."""
    _cancel(session, job_id, ("waiting", "queued"), now)


def revoke(session: Session, job_id: str, *, now: datetime) -> None:
    """End all parts of a job. Whoever holds one learns it from the next heartbeat. The caller holds the job's row."""
    _cancel(session, job_id, ("waiting", "queued", "running"), now)


def _cancel(session: Session, job_id: str, states: tuple[PartState, ...], now: datetime) -> None:
    session.execute(
        update(PartRow)
        .where(PartRow.job_id == job_id, PartRow.state.in_(states))
        .values(state="cancelled", finished_at=now, lease_token=None, lease_expires_at=None, speed=None)
        .execution_options(synchronize_session=False)
    )


def parts_of_job(session: Session, job_id: str) -> list[PartRow]:
    """All parts of a job as they are now, in the order of their kinds and trainings."""
    session.flush()
    statement = select(PartRow).where(PartRow.job_id == job_id).execution_options(populate_existing=True)
    order = list(PART_KINDS)
    return sorted(session.scalars(statement), key=lambda part: (order.index(part.kind), part.training_number or 0))


def has_unfinished_probe(session: Session, video_id: str) -> bool:
    """Whether a part of the video itself goes on. The caller holds the video's row."""
    statement = select(PartRow.id).where(
        PartRow.video_id == video_id, PartRow.job_id.is_(None), PartRow.state.in_(("waiting", "queued", "running"))
    )
    return session.scalars(statement.limit(1)).first() is not None


def silent_parts(session: Session, *, now: datetime, include_live: bool) -> list[PartRow]:
    """Running parts whose lease has expired, or all that run; probes first, so that locks never cross.

    Whoever locks a video and its jobs locks the video before them, and jobs in the order of their ids.
    """
    statement = select(PartRow).where(PartRow.state == "running")
    statement = statement.order_by(PartRow.job_id.is_not(None), PartRow.job_id, PartRow.video_id, PartRow.id)
    if not include_live:
        statement = statement.where(PartRow.lease_expires_at < now)
    return list(session.scalars(statement))


def seize(session: Session, part_id: str, *, now: datetime, include_live: bool) -> PartRow | None:
    """Take a running part from its silent holder, under a token of our own; None where it has spoken since."""
    condition = PartRow.state == "running"
    if not include_live:
        condition &= PartRow.lease_expires_at < now
    return _change(session, part_id, condition, {"lease_token": new_id()})


def count_queued(session: Session, queue: QueueName) -> int:
    """Parts of a queue that anyone may claim."""
    statement = select(func.count()).select_from(PartRow).where(PartRow.state == "queued", PartRow.queue == queue)
    return session.scalar(statement) or 0


def first_in_line(session: Session, queue: QueueName, *, now: datetime) -> str | None:
    """The queued part of the oldest job: a job that has begun is finished before those that came after it."""
    statement = (
        select(PartRow.id)
        .outerjoin(JobRow, JobRow.id == PartRow.job_id)
        .where(PartRow.state == "queued", PartRow.queue == queue, PartRow.not_before <= now)
        .order_by(func.coalesce(JobRow.created_at, PartRow.created_at), PartRow.training_number, PartRow.id)
    )
    return session.scalars(statement.limit(1)).first()


def parts_to_send_again(session: Session, queue: QueueName, *, now: datetime, older_than: timedelta) -> list[str]:
    """The queued parts of a queue that were last sent so long ago, or that wait for the end of a pause."""
    statement = select(PartRow.id).where(
        PartRow.state == "queued",
        PartRow.queue == queue,
        PartRow.not_before <= now,
        or_(PartRow.last_sent_at.is_(None), PartRow.last_sent_at < now - older_than),
    )
    return list(session.scalars(statement))


def send_again(session: Session, part_id: str, *, now: datetime) -> bool:
    """Tell the workers again about a part; False where it is no longer queued.

    One transaction each: to hold several parts without their jobs would invite a deadlock.
    """
    part = _change(session, part_id, PartRow.state == "queued", {"last_sent_at": now})
    if part is None:
        return False
    send_after_commit(session, part)
    return True


def _held(token: str) -> ColumnElement[bool]:
    return (PartRow.state == "running") & (PartRow.lease_token == token)


def _change(
    session: Session, part_id: str, condition: ColumnElement[bool], values: Mapping[str, Any]
) -> PartRow | None:
    statement = (
        update(PartRow)
        .where(PartRow.id == part_id, condition)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    result = session.execute(statement)
    assert isinstance(result, CursorResult)
    if result.rowcount == 0:
        return None
    return session.get(PartRow, part_id, populate_existing=True)
