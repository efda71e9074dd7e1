"""The clock: takes parts back from workers that fell silent, and sends again what the broker lost.

A loop of its own, not Celery's beat: that would put a message into a queue, and behind an hour's training nobody would
look after the dead. Several may run at once, without harm.
"""

from __future__ import annotations

import logging
from threading import Event

from sqlalchemy.exc import SQLAlchemyError

from core.clock import utc_now
from core.errors import ServiceError
from core.jobs.housekeeping import housekeep
from core.settings import Settings
from core.storage.object_store import make_object_store
from core.task_queue import make_celery, make_database

logger = logging.getLogger(__name__)


def run_beat(settings: Settings, *, shutdown: Event) -> None:
    """Keep house every `reap_interval_seconds`, until `shutdown` is set. What fails once is tried again."""
    database = make_database(settings, make_celery(settings))
    store = make_object_store(settings)
    try:
        while not shutdown.is_set():
            try:
                housekeep(database, store, settings, now=utc_now())
            except (ServiceError, SQLAlchemyError):
                logger.warning("housekeeping failed and will be tried again", exc_info=True)
            shutdown.wait(settings.reap_interval_seconds)
    finally:
        database.close()
