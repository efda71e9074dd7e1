"""Keep a part's lease alive, whatever the part is doing, and pass on how far it is."""

from __future__ import annotations

import logging
import time
from threading import Condition, Thread
from types import TracebackType
from typing import Self

from core.clock import utc_now
from core.database import Database
from core.jobs import job_states
from core.jobs.claims import Claim
from core.jobs.part_kinds import PART_KINDS
from core.jobs.progress import StageReport
from stdo.service.resources import Stage
from workers.sandbox.stop_signal import StopReason, StopSignal

PROGRESS_SECONDS = 1.0
"""Shortest distance of two heartbeats, unless the stage has changed."""

logger = logging.getLogger(__name__)


class LeaseKeeper:
    """A thread that sends heartbeats for one part while the `with` block runs: each a short transaction of its own.

    It sets the stop signal when the lease is lost, or when somebody wants the job cancelled. A database that does not
    answer is asked again until the lease must have expired; from then on the part counts as lost.
    """

    def __init__(self, database: Database, claim: Claim, stop: StopSignal, *, interval_seconds: float) -> None:
        self._database = database
        self._claim = claim
        self._stop = stop
        self._interval_seconds = interval_seconds
        self._pending: dict[Stage, StageReport] = {}
        self._stage: Stage | None = None
        self._urgent = False
        self._closed = False
        self._changed = Condition()
        self._held_until = time.monotonic() + claim.lease.total_seconds()
        self._thread = Thread(target=self._keep, name=f"lease-{claim.part_id}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def report(self, report: StageReport) -> None:
        """Say how far the part is. Any thread may call this, as often as it likes."""
        if report.stage not in PART_KINDS[self._claim.kind].stages:
            logger.warning("a %s part reported the stage %s, which is not its own", self._claim.kind, report.stage)
            return
        with self._changed:
            self._pending[report.stage] = report
            if report.stage != self._stage:
                self._stage = report.stage
                self._urgent = True
                self._changed.notify()

    def _keep(self) -> None:
        while self._wait_for_beat():
            self._beat()
        if self._pending and self._stop.reason is None:
            self._beat()

    def _wait_for_beat(self) -> bool:
        """Wait until a heartbeat is due; False where the part is over instead."""
        due = time.monotonic() + self._interval_seconds
        with self._changed:
            while not (self._urgent or self._closed):
                self._changed.wait(min(PROGRESS_SECONDS, self._interval_seconds))
                if self._pending or time.monotonic() >= due:
                    break
            self._urgent = False
            return not self._closed

    def _beat(self) -> None:
        with self._changed:
            reports: list[StageReport | None] = [*self._pending.values()]
            self._pending.clear()
        for report in reports or [None]:
            self._send(report)

    def _send(self, report: StageReport | None) -> None:
        asked_at = time.monotonic()
        try:
            with self._database.transaction() as session:
                answer = job_states.heartbeat(session, self._claim, now=utc_now(), report=report)
        except Exception:
            # Whatever the reason: if this thread ended, the part would run on without a lease.
            logger.warning("the heartbeat of part %s failed", self._claim.part_id, exc_info=True)
            if time.monotonic() >= self._held_until:
                self._stop.set(StopReason.LEASE_LOST)
            return
        if answer.lost:
            self._stop.set(StopReason.LEASE_LOST)
            return
        self._held_until = asked_at + self._claim.lease.total_seconds()
        if answer.cancel_requested:
            self._stop.set(StopReason.CANCELLED)
