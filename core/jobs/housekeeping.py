"""What has to be looked after on a clock: silent workers' tasks, lost messages, and files that ended jobs left.

One process of the service calls housekeep() every `reap_interval_seconds`. Several may, without harm.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.database import Database
from core.errors import BrokerUnavailableError, ServiceError
from core.jobs import job_states, leases, leftovers
from core.settings import Settings
from core.storage.object_store import ObjectStore
from core.tables import QueueName
from core.task_queue import QUEUES, queue_depth

SWEEP_AFTER = timedelta(minutes=5)
"""From a job's end until its leftovers are swept: whoever still worked on it has noticed, and writes no more."""
SWEEP_FOR = timedelta(minutes=2)
"""How long a job's leftovers are swept again and again, for a store or a beat that was away meanwhile."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Housekept:
    """What was put right."""

    reaped: int
    """Tasks taken back from silent workers."""
    resent: int
    """Messages sent again."""


def housekeep(database: Database, store: ObjectStore, settings: Settings, *, now: datetime) -> Housekept:
    """Take back what silent workers held, send again what was lost, and delete what jobs left behind."""
    with database.transaction() as session:
        reaped = job_states.reap(session, now=now, max_attempts=settings.max_attempts)
    if reaped:
        _log.warning("%d tasks were taken back from workers that fell silent", reaped)
    resent = sum(_resend(database, settings, queue, now) for queue in QUEUES)
    _sweep(database, store, now)
    return Housekept(reaped=reaped, resent=resent)


def _resend(database: Database, settings: Settings, queue: QueueName, now: datetime) -> int:
    try:
        waiting = queue_depth(settings, queue)
    except BrokerUnavailableError as error:
        _log.warning("%s", error.detail)
        return 0
    with database.snapshot() as session:
        # Where as many messages wait as tasks do, none was lost: the workers are busy, and more messages would only
        # pile up.
        if waiting >= leases.count_queued(session, queue):
            return 0
        older_than = timedelta(seconds=settings.resend_after_seconds)
        task_ids = leases.unheard_tasks(session, queue, now=now, older_than=older_than)
    return sum(_send_again(database, task_id, now) for task_id in task_ids)


def _send_again(database: Database, task_id: str, now: datetime) -> bool:
    with database.transaction() as session:
        return leases.send_again(session, task_id, now=now)


def _sweep(database: Database, store: ObjectStore, now: datetime) -> None:
    """Delete what jobs left that ended with no worker at hand: cancelled while they waited, or taken from the dead."""
    until = now - SWEEP_AFTER
    with database.snapshot() as session:
        job_ids = leftovers.owners(session, ended_from=until - SWEEP_FOR, ended_until=until)
    try:
        for job_id in job_ids:
            leftovers.remove(database, store, job_id)
    except (ServiceError, OSError):
        _log.warning("what ended jobs left behind could not be deleted", exc_info=True)
