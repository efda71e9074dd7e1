"""API keys: made, listed, revoked and checked. Only a hash is kept; the key itself is shown once."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.callers import Caller
from core.errors import ApiKeyNotFoundError, InvalidApiKeyError
from core.tables import ApiKeyRow, new_id

KEY_PREFIX = "stdo_"
SECRET_BYTES = 32
LAST_USED_PRECISION = timedelta(minutes=1)
"""A key in steady use is not written to more often than this."""


@dataclass(frozen=True, kw_only=True)
class NewApiKey:
    """A key that was just made."""

    id: str
    secret: str = field(repr=False)
    """The key to send. It can't be shown again."""


def create(session: Session, caller: Caller, *, name: str, now: datetime) -> NewApiKey:
    """A new key of the caller's tenant, with 256 random bits."""
    secret = KEY_PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    row = ApiKeyRow(id=new_id(), tenant=caller.tenant, name=name, secret_sha256=_hash(secret), created_at=now)
    session.add(row)
    session.flush()
    return NewApiKey(id=row.id, secret=secret)


def list_all(session: Session, caller: Caller) -> Sequence[ApiKeyRow]:
    """Every key of the tenant, the revoked ones included, oldest first."""
    statement = select(ApiKeyRow).where(ApiKeyRow.tenant == caller.tenant)
    return session.scalars(statement.order_by(ApiKeyRow.created_at, ApiKeyRow.id)).all()


def revoke(session: Session, caller: Caller, key_id: str, *, now: datetime) -> None:
    """Refuse a key from now on. Revoking twice changes nothing. Raises ApiKeyNotFoundError."""
    row = session.get(ApiKeyRow, key_id)
    if row is None or row.tenant != caller.tenant:
        raise ApiKeyNotFoundError(key_id)
    row.revoked_at = row.revoked_at or now


def authenticate(session: Session, secret: str, *, now: datetime) -> Caller:
    """Whose key it is. Raises InvalidApiKeyError where it is unknown or revoked."""
    row = session.scalar(select(ApiKeyRow).where(ApiKeyRow.secret_sha256 == _hash(secret)))
    if row is None or row.revoked_at is not None:
        raise InvalidApiKeyError
    if row.last_used_at is None or now - row.last_used_at >= LAST_USED_PRECISION:
        row.last_used_at = now
    return Caller(tenant=row.tenant, api_key_id=row.id)


def _hash(secret: str) -> str:
    # A key has 256 random bits, so a fast hash without a salt can't be turned back.
    return hashlib.sha256(secret.encode()).hexdigest()
