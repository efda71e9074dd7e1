"""How long a client goes on trying, and what is tried again at all; for both clients, no I/O."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from stdo.errors import StdoError
from stdo.service.api_calls import Call
from stdo.service.api_errors import ApiError, NothingAnswersError, ServiceUnreachableError

_TOO_MANY_REQUESTS = 429
_AWAY_STATUSES = frozenset({502, 503, 504})
_ANSWERED_MEANWHILE = "/problems/request-answered-meanwhile"
"""Of two requests with one Idempotency-Key this was the slower one: asking again gives the answer of the other."""


class Patience:
    """How long a client keeps asking while the service is away, such as while it restarts.

    The time begins at the first failure, and anew at the first one after something came.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._first_failure: float | None = None
        self._failures = 0

    def answered(self) -> None:
        """Something came: an answer, or more bytes of a file."""
        self._first_failure = None
        self._failures = 0

    def pause_after(self, error: StdoError) -> float:
        """Seconds to wait before the next try. Raises `error` where trying again is no use, or patience is over."""
        now = self._clock()
        self._first_failure = now if self._first_failure is None else self._first_failure
        if not _is_transient(error) or now - self._first_failure >= self._seconds:
            raise error
        self._failures += 1
        return float(min(0.25 * 2**self._failures, 5.0))


class CallAttempts:
    """The attempts at one call. Only one that carries a key is sent again: the service does it once all the same."""

    def __init__(self, call: Call[Any], patience: Patience) -> None:
        self._repeatable = call.repeatable
        self._patience = patience
        self._reached = False

    def pause_after(self, error: StdoError) -> float:
        """Seconds to wait before the next attempt. Raises `error` where there is none.

        An address where nothing has answered yet is wrong more often than away, and whoever mistyped it shouldn't wait.
        """
        self._reached = self._reached or not isinstance(error, NothingAnswersError)
        if not self._repeatable or not self._reached or _is_refusal(error):
            raise error
        return self._patience.pause_after(error)


def _is_transient(error: StdoError) -> bool:
    if isinstance(error, ApiError):
        return error.status in _AWAY_STATUSES | {_TOO_MANY_REQUESTS} or error.type == _ANSWERED_MEANWHILE
    return isinstance(error, ServiceUnreachableError)


def _is_refusal(error: StdoError) -> bool:
    """Whether the service says that the user has asked for too much already."""
    return isinstance(error, ApiError) and error.status == _TOO_MANY_REQUESTS
