"""Why a part has to stop before its end."""

from __future__ import annotations

from enum import StrEnum
from threading import Event


class StopReason(StrEnum):
    """Who wants a part to stop."""

    CANCELLED = "cancelled"
    """Somebody asked for the job's end."""
    LEASE_LOST = "lease_lost"
    """The part is no longer ours: nothing may be written any more."""
    SHUTDOWN = "shutdown"
    """This worker is being shut down."""


class StoppedError(Exception):
    """The part was stopped on purpose."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(f"stopped: {reason}")
        self.reason = reason


class StopSignal:
    """Asks one part to stop. Any thread may set it. The first reason counts, but a lost lease beats them all."""

    def __init__(self, shutdown: Event) -> None:
        self._shutdown = shutdown
        self._reason: StopReason | None = None

    def set(self, reason: StopReason) -> None:
        """Ask the part to stop."""
        if self._reason is None or reason is StopReason.LEASE_LOST:
            self._reason = reason

    @property
    def reason(self) -> StopReason | None:
        """Why the part has to stop; None while it may go on."""
        if self._reason is None and self._shutdown.is_set():
            return StopReason.SHUTDOWN
        return self._reason

    def check(self) -> None:
        """Raise StoppedError where the part has to stop."""
        if (reason := self.reason) is not None:
            raise StoppedError(reason)
