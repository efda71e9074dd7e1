"""Messages that wait in a session until its transaction is committed.

They are kept in `session.info` and sent by `core.database.Database.transaction`. (SQLAlchemy's own after_commit event
will not do: its listener survives a rollback and fires with the next commit.)
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from core.tables import QueueName, TaskKind, TaskRow

_KEY = "core.outbox"


@dataclass(frozen=True, kw_only=True)
class TaskMessage:
    """A hint to the workers that a task may be claimed. The task's row is the truth."""

    task_id: str
    kind: TaskKind
    queue: QueueName


def send_after_commit(session: Session, task: TaskRow) -> None:
    """Tell the workers about `task` once this session's transaction is committed."""
    message = TaskMessage(task_id=task.id, kind=task.kind, queue=task.queue)
    session.info.setdefault(_KEY, []).append(message)


def take(session: Session) -> tuple[TaskMessage, ...]:
    """The messages left so far; they are not kept any longer."""
    return tuple(session.info.pop(_KEY, ()))
