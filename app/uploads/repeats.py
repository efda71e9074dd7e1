"""Requests that may be sent again: with an `Idempotency-Key` they make one thing, however often they come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from app.services import Services
from app.uploads.receive import Upload
from core.callers import Caller
from core.clock import utc_now
from core.errors import RequestAnsweredMeanwhileError
from core.jobs import idempotency

Made = TypeVar("Made")
Remember = Callable[[Session, str], None]
"""Called with the session that makes something, and its id."""


@dataclass(frozen=True, kw_only=True)
class KeyedRequest:
    """A request that makes something, with the key that its sender may have given it."""

    services: Services
    caller: Caller
    key: str | None
    method: str
    path: str

    def once(
        self,
        body: Mapping[str, Any],
        *,
        make: Callable[[Remember], Made],
        load: Callable[[Session, Caller, str], Made],
    ) -> Made:
        """What the request makes, or what it made when it came first, as that is now.

        Args:
            body: what was asked for, as JSON values.
            make: makes it, and calls what it is given in the same transaction.
            load: finds it by its id.

        Raises: IdempotencyKeyReusedError where the key came with something else before; what `make` and `load` raise.
        """
        if self.key is None:
            return make(lambda _session, _resource_id: None)
        key, fingerprint = self.key, idempotency.request_fingerprint(self.method, self.path, body)

        def remember(session: Session, resource_id: str) -> None:
            idempotency.remember(session, self.caller, key, fingerprint, resource_id, now=utc_now())

        def earlier() -> Made | None:
            with self.services.database.snapshot() as session:
                resource_id = idempotency.find(session, self.caller, key, fingerprint)
                return None if resource_id is None else load(session, self.caller, resource_id)

        if (made := earlier()) is not None:
            return made
        try:
            return make(remember)
        except RequestAnsweredMeanwhileError:
            if (made := earlier()) is not None:
                return made
            raise


def form_body(upload: Upload) -> dict[str, Any]:
    """What makes two forms the same one."""
    return {"file": upload.sha256, "file_name": upload.file_name, "fields": dict(upload.fields)}
