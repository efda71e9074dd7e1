"""Requests that may be sent again without doing twice what they ask: the header `Idempotency-Key` of POST.

The first request with a key makes something (a video, a job) and remembers what, in one transaction. A later request
with the key gets the same thing, where it is the same request; it is refused where it is another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.callers import Caller
from core.errors import IdempotencyKeyReusedError, RequestAnsweredMeanwhileError
from core.tables import IdempotencyKeyRow

REMEMBERED_FOR = timedelta(hours=24)
LONGEST_KEY = 255
"""Characters."""


def request_fingerprint(method: str, path: str, body: Mapping[str, Any]) -> str:
    """What makes two requests the same one: a SHA-256 over method, path and body, in hexadecimal.

    Args:
        body: JSON values. The order of names doesn't matter. For a form: its fields, and the SHA-256 of its file.
    """
    canonical = json.dumps([method, path, body], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def find(session: Session, caller: Caller, key: str, fingerprint: str) -> str | None:
    """The id of what an earlier request with this key has made; None where there was no such request.

    Raises IdempotencyKeyReusedError where the earlier request was another one.
    """
    row = session.get(IdempotencyKeyRow, (caller.tenant, key))
    if row is None:
        return None
    if row.fingerprint != fingerprint:
        raise IdempotencyKeyReusedError(key)
    return row.resource_id


def remember(session: Session, caller: Caller, key: str, fingerprint: str, resource_id: str, *, now: datetime) -> None:
    """Keep the id of what a request has made, for later requests. Call it in the transaction that makes it.

    Raises RequestAnsweredMeanwhileError where a request that ran at the same time with the same key was faster. The
    transaction must be rolled back then, and find() has the id of what the other has made.
    """
    row = IdempotencyKeyRow(
        tenant=caller.tenant,
        key=key,
        fingerprint=fingerprint,
        resource_id=resource_id,
        created_at=now,
    )
    session.add(row)
    try:
        # PostgreSQL waits here for the other request, until it is known whether that one succeeds.
        session.flush()
    except IntegrityError:
        raise RequestAnsweredMeanwhileError(key) from None


def forget_old(session: Session, *, now: datetime) -> None:
    """Delete what was remembered for long enough."""
    session.execute(delete(IdempotencyKeyRow).where(IdempotencyKeyRow.created_at < now - REMEMBERED_FOR))
