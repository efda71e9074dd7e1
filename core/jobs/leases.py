"""Who works on which task: the only writer of `tasks.state`.

take(), extend(), hold() and seize() are compare-and-sets (UPDATE ... WHERE state and token), so that of two workers
exactly one wins, on SQLite and PostgreSQL alike. The winner holds the row until the end of its transaction, and may
change it by plain assignment. `core.jobs.job_states` decides what follows for the job, and holds its row meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, func, or_, select, update
from sqlalchemy.orm import Session

from core.errors import LeaseLostError
from core.outbox import send_after_commit
from core.tables import QueueName, TaskKind, TaskRow, TaskState, new_id

QUEUE_OF_TASK: Mapping[TaskKind, QueueName] = {
    "probe_video": "cpu",
    "prepare_job": "gpu",
    "train_network": "gpu",
    "finish_job": "cpu",
}
"""prepare_job scores every patch with a network; finish_job measures with the clients' decoder, which runs on CPUs."""

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


def add_task(
    session: Session,
    kind: TaskKind,
    *,
    video_id: str,
    job_id: str | None,
    now: datetime,
    network_number: int | None = None,
    wait: bool = False,
) -> TaskRow:
    """A new task: queued, and told to the workers after the commit, unless it has to wait for others."""
    task = TaskRow(
        id=new_id(),
        kind=kind,
        queue=QUEUE_OF_TASK[kind],
        video_id=video_id,
        job_id=job_id,
        network_number=network_number,
        state="waiting",
        created_at=now,
        not_before=now,
    )
    session.add(task)
    if not wait:
        queue_task(session, task, now=now)
    return task


def queue_task(session: Session, task: TaskRow, *, now: datetime) -> None:
    """Let anyone claim a task, and tell the workers after the commit. The caller holds the job's row, or the task."""
    task.state = "queued"
    task.last_sent_at = now
    session.flush()
    send_after_commit(session, task)


def take(session: Session, task_id: str, *, now: datetime, lease: timedelta) -> TaskRow | None:
    """Make a queued task ours under a fresh token; None where somebody else was faster, or it is gone."""
    values = {
        **_NO_PROGRESS,
        "state": "running",
        "attempt": TaskRow.attempt + 1,
        "lease_token": new_id(),
        "lease_expires_at": now + lease,
    }
    return _change(session, task_id, TaskRow.state == "queued", values)


def extend(session: Session, task_id: str, token: str, *, now: datetime, lease: timedelta) -> TaskRow | None:
    """Hold a task for longer; None where the lease was lost. An expired lease that nobody took back is still ours."""
    return _change(session, task_id, _held(token), {"lease_expires_at": now + lease})


def hold(session: Session, task_id: str, token: str) -> TaskRow:
    """The task, if it is still ours, locked for this transaction. Raises LeaseLostError."""
    task = _change(session, task_id, _held(token), {"lease_token": token})
    if task is None:
        raise LeaseLostError(task_id)
    return task


def end(task: TaskRow, state: TaskState, *, now: datetime) -> None:
    """End a task that we hold."""
    task.state = state
    task.finished_at = now
    task.lease_token = task.lease_expires_at = task.speed = None


def give_back(session: Session, task: TaskRow, *, now: datetime, pause: timedelta, used: bool) -> None:
    """Let others claim a task that we hold, at once or after a pause. `used` says whether the attempt counts.

    Where it does not, the next attempt has the same number: numbers differ between attempts at the same time alone.

    Without a pause the workers are told after the commit; with one, `core.jobs.housekeeping` tells them later.
    """
    task.lease_token = task.lease_expires_at = None
    for name, value in _NO_PROGRESS.items():
        setattr(task, name, value)
    if not used:
        task.attempt -= 1
    task.not_before = now + pause
    if pause:
        task.state, task.last_sent_at = "queued", None
    else:
        queue_task(session, task, now=now)


def cancel_unclaimed(session: Session, job_id: str, *, now: datetime) -> None:
    """End those tasks of a job that nobody holds. The caller holds the job's row."""
    _cancel(session, job_id, ("waiting", "queued"), now)


def revoke(session: Session, job_id: str, *, now: datetime) -> None:
    """End all tasks of a job. Whoever holds one learns it from the next heartbeat. The caller holds the job's row."""
    _cancel(session, job_id, ("waiting", "queued", "running"), now)


def _cancel(session: Session, job_id: str, states: tuple[TaskState, ...], now: datetime) -> None:
    session.execute(
        update(TaskRow)
        .where(TaskRow.job_id == job_id, TaskRow.state.in_(states))
        .values(state="cancelled", finished_at=now, lease_token=None, lease_expires_at=None, speed=None)
        .execution_options(synchronize_session=False)
    )


def tasks_of_job(session: Session, job_id: str) -> list[TaskRow]:
    """All tasks of a job as they are now, in the order of their networks."""
    statement = select(TaskRow).where(TaskRow.job_id == job_id).order_by(TaskRow.network_number)
    return list(session.scalars(statement.execution_options(populate_existing=True)))


def silent_tasks(session: Session, *, now: datetime, include_live: bool) -> list[TaskRow]:
    """Running tasks whose lease has expired, or all that run; in the order of their jobs, so that locks never cross."""
    statement = select(TaskRow).where(TaskRow.state == "running").order_by(TaskRow.job_id, TaskRow.id)
    if not include_live:
        statement = statement.where(TaskRow.lease_expires_at < now)
    return list(session.scalars(statement))


def seize(session: Session, task_id: str, *, now: datetime, include_live: bool) -> TaskRow | None:
    """Take a running task from its silent holder, under a token of our own; None where it has spoken since."""
    condition = TaskRow.state == "running"
    if not include_live:
        condition &= TaskRow.lease_expires_at < now
    return _change(session, task_id, condition, {"lease_token": new_id()})


def count_queued(session: Session, queue: QueueName) -> int:
    """Tasks of a queue that anyone may claim."""
    statement = select(func.count()).select_from(TaskRow).where(TaskRow.state == "queued", TaskRow.queue == queue)
    return session.scalar(statement) or 0


def unheard_tasks(session: Session, queue: QueueName, *, now: datetime, older_than: timedelta) -> list[str]:
    """The queued tasks of a queue that were last sent so long ago, or that wait for the end of a pause."""
    statement = select(TaskRow.id).where(
        TaskRow.state == "queued",
        TaskRow.queue == queue,
        TaskRow.not_before <= now,
        or_(TaskRow.last_sent_at.is_(None), TaskRow.last_sent_at < now - older_than),
    )
    return list(session.scalars(statement))


def send_again(session: Session, task_id: str, *, now: datetime) -> bool:
    """Tell the workers again about a task; False where it is no longer queued.

    One transaction each: to hold several tasks without their jobs would invite a deadlock.
    """
    task = _change(session, task_id, TaskRow.state == "queued", {"last_sent_at": now})
    if task is None:
        return False
    send_after_commit(session, task)
    return True


def _held(token: str) -> ColumnElement[bool]:
    return (TaskRow.state == "running") & (TaskRow.lease_token == token)


def _change(
    session: Session, task_id: str, condition: ColumnElement[bool], values: Mapping[str, Any]
) -> TaskRow | None:
    statement = (
        update(TaskRow)
        .where(TaskRow.id == task_id, condition)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    result = session.execute(statement)
    assert isinstance(result, CursorResult)
    if result.rowcount == 0:
        return None
    return session.get(TaskRow, task_id, populate_existing=True)
