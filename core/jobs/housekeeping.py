"""What has to be looked after on a clock: silent workers' parts, lost messages, and what is not needed any more.

One process of the service calls housekeep() every `reap_interval_seconds`. Several may, without harm.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.database import Database
from core.errors import BrokerUnavailableError, ServiceError
from core.jobs import idempotency, job_states, leases, leftovers
from core.settings import Settings
from core.storage.object_store import ObjectStore
from core.tables import QueueName
from core.task_queue import QUEUES, queue_depth

SWEEP_AFTER = timedelta(minutes=5)
"""From a job's end until its leftovers are swept: whoever still worked on it has noticed, and writes no more."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class HousekeepingResult:
    """What was put right."""

    reaped: int
    """Parts taken back from silent workers."""
    resent: int
    """Messages sent again."""


def housekeep(database: Database, store: ObjectStore, settings: Settings, *, now: datetime) -> HousekeepingResult:
    """Take back what silent workers held, send again what was lost, and delete what jobs left behind."""
    with database.transaction() as session:
        reaped = job_states.reap(session, now=now, max_attempts=settings.max_attempts)
    if reaped:
        _log.warning("%d parts were taken back from workers that fell silent", reaped)
    resent = sum(_resend(database, settings, queue, now) for queue in QUEUES)
    _sweep(database, store, now)
    with database.transaction() as session:
        idempotency.forget_old(session, now=now)
    return HousekeepingResult(reaped=reaped, resent=resent)


def _resend(database: Database, settings: Settings, queue: QueueName, now: datetime) -> int:
    try:
        waiting = queue_depth(settings, queue)
    except BrokerUnavailableError as error:
        _log.warning("%s", error.detail)
        return 0
    with database.snapshot() as session:
        # Where as many messages wait as parts do, none was lost: the workers are busy, and more messages would only
        # pile up.
        if waiting >= leases.count_queued(session, queue):
            return 0
        older_than = timedelta(seconds=settings.resend_after_seconds)
        part_ids = leases.parts_to_send_again(session, queue, now=now, older_than=older_than)
    return sum(_send_again(database, part_id, now) for part_id in part_ids)


def _send_again(database: Database, part_id: str, now: datetime) -> bool:
    with database.transaction() as session:
        return leases.send_again(session, part_id, now=now)


def _sweep(database: Database, store: ObjectStore, now: datetime) -> None:
    """Delete what jobs left that ended with no worker at hand: cancelled while they waited, or taken from the dead.

    Each job once. What can't be deleted is tried again the next time, and holds up no other job.
    """
    with database.snapshot() as session:
        job_ids = leftovers.unswept_jobs(session, ended_before=now - SWEEP_AFTER)
    if not job_ids or not _answers(store):
        return
    for job_id in job_ids:
        try:
            leftovers.remove(database, store, job_id)
        except (ServiceError, OSError):
            _log.warning("what job %s left behind could not be deleted", job_id, exc_info=True)
            continue
        with database.transaction() as session:
            leftovers.mark_swept(session, job_id, now=now)


def _answers(store: ObjectStore) -> bool:
    # Asked once: to wait for the answer about each job would take long, and the next leases expire meanwhile.
    try:
        store.check()
    except ServiceError as error:
        _log.warning("what ended jobs left behind stays for now: %s", error.detail)
        return False
    return True
