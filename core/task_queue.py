"""The Celery application: names, queues, sending. A message is a hint; the row of `core.tables.PartRow` is the truth.

A message is acknowledged as soon as a worker takes it up, and lost with that worker if it dies: the part's lease then
expires, and `core.jobs.housekeeping` queues it again. (docs/decisions/0006 has the reasons.)
"""

from __future__ import annotations

import logging
from typing import cast

from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError

from core.database import Database, Sender, make_engine
from core.errors import BrokerUnavailableError
from core.outbox import PartMessage
from core.settings import Settings
from core.tables import QueueName

QUEUES: tuple[QueueName, ...] = ("cpu", "gpu")
TASK_NAME = "stdo.part"
"""What a worker registers. The Celery task has one argument, the queue in which a part waits: the rows say which one is
first in line."""

VISIBILITY_SLACK_SECONDS = 3600
"""Far more than from fetching a message to acknowledging it, so that no message comes twice on that account."""

BROKER_TIMEOUT_SECONDS = 3

_log = logging.getLogger(__name__)


def make_celery(settings: Settings) -> Celery:
    """The application for API, workers and beat. Connects when first used. Raises SettingsError without a broker."""
    celery = Celery("stdo", broker=settings.broker_url, set_as_current=False)
    celery.conf.update(
        accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        result_accept_content=["json"],
        task_ignore_result=True,
        task_queues={name: {"routing_key": name} for name in QUEUES},
        task_default_queue="cpu",
        task_create_missing_queues=False,
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=BROKER_TIMEOUT_SECONDS,
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0.1},
        broker_transport_options={
            "visibility_timeout": settings.lease_seconds + VISIBILITY_SLACK_SECONDS,
            # What was fetched and not acknowledged is noticed every 5 s, not every 100 s.
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_connect_timeout": BROKER_TIMEOUT_SECONDS,
            # A broker that hangs must not hang the API. A worker waits for messages by a second at a time.
            "socket_timeout": BROKER_TIMEOUT_SECONDS,
            "socket_keepalive": True,
        },
        enable_utc=True,
    )
    return celery


def make_sender(celery: Celery) -> Sender:
    """Sends messages for `core.database.Database`. A broker that does not answer is logged and no more.

    The row is committed by then, and `core.jobs.housekeeping` sends again what nobody takes up.
    """

    def send(message: PartMessage) -> None:
        try:
            celery.send_task(TASK_NAME, args=[message.queue], queue=message.queue)
        except OperationalError as error:
            _log.warning("the %s part %s was not sent; it will be sent again: %s", message.kind, message.part_id, error)

    return send


def make_database(settings: Settings, celery: Celery) -> Database:
    """The settings' database, which sends through `celery` what its transactions queue."""
    return Database(make_engine(settings), send=make_sender(celery))


def queue_depth(settings: Settings, queue: QueueName) -> int:
    """Messages that wait for a worker. Raises BrokerUnavailableError."""
    # Celery keeps a queue's messages in a Redis list of the same name.
    try:
        with Redis.from_url(settings.broker_url, socket_timeout=BROKER_TIMEOUT_SECONDS) as client:
            return int(cast(int, client.llen(queue)))
    except RedisError as error:
        raise BrokerUnavailableError(
            f"The message broker does not answer: {error}. Jobs are kept, and go on once it does."
        ) from error


def check_broker(settings: Settings) -> None:
    """Ask the broker for an answer. Raises BrokerUnavailableError."""
    queue_depth(settings, "cpu")
