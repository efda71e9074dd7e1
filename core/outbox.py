"""Messages that wait in a session until its transaction is committed.

They are kept in `session.info` and sent by `core.database.Database.transaction`. (SQLAlchemy's own after_commit event
will not do: its listener survives a rollback and fires with the next commit.)
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from core.tables import PartKind, PartRow, QueueName

_KEY = "core.outbox"


@dataclass(frozen=True, kw_only=True)
class PartMessage:
    """A hint to the workers that a part may be claimed. The part's row is the truth."""

    part_id: str
    kind: PartKind
    queue: QueueName


def send_after_commit(session: Session, part: PartRow) -> None:
    """Tell the workers about `part` once this session's transaction is committed."""
    message = PartMessage(part_id=part.id, kind=part.kind, queue=part.queue)
    session.info.setdefault(_KEY, []).append(message)


def take(session: Session) -> tuple[PartMessage, ...]:
    """The messages left so far; they are not kept any longer."""
    return tuple(session.info.pop(_KEY, ()))
