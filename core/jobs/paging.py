"""Listings in pages, newest first, by an opaque cursor. New rows do not shift the pages after the first."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy import Select, and_, or_
from sqlalchemy.orm import Session

from core.callers import Caller
from core.errors import MalformedCursorError
from core.tables import JobRow, VideoRow

Row = TypeVar("Row", VideoRow, JobRow)

DEFAULT_LIMIT = 20
MAX_LIMIT = 100


def fetch_page(
    session: Session, caller: Caller, statement: Select[Row], table: type[Row], *, cursor: str | None, limit: int
) -> tuple[list[Row], str | None]:
    """At most `limit` of the tenant's rows after the cursor, and the cursor of the next page, if there is one.

    Raises MalformedCursorError.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise ValueError(f"a page has 1 to {MAX_LIMIT} rows: {limit = }")
    statement = statement.where(table.tenant == caller.tenant)
    if cursor is not None:
        at, row_id = decode_cursor(cursor)
        statement = statement.where(or_(table.created_at < at, and_(table.created_at == at, table.id < row_id)))
    statement = statement.order_by(table.created_at.desc(), table.id.desc()).limit(limit + 1)
    rows = list(session.scalars(statement))
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], encode_cursor(last.created_at, last.id)


def encode_cursor(created_at: datetime, row_id: str) -> str:
    """The place after a row, as text for a URL."""
    return base64.urlsafe_b64encode(f"{created_at.isoformat()} {row_id}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> tuple[datetime, str]:
    """The creation time and id of the row that a page starts after. Raises MalformedCursorError."""
    padded = cursor + "=" * (-len(cursor) % 4)
    try:
        moment, row_id = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii").split(" ")
        at = datetime.fromisoformat(moment)
        if at.tzinfo is None or not row_id.isalnum():
            raise MalformedCursorError
        return at.astimezone(UTC), row_id
    except (ValueError, OverflowError):
        raise MalformedCursorError from None
