"""The Celery worker: takes messages from its queues and hands each to `workers.tasks.run_task`.

The pool is threads. A task's thread only waits for its part's process, so that neither the interpreter's lock nor a
fork matters; unlike the solo pool, the main thread stays free to answer the broker and SIGTERM while tasks run.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from threading import Event
from typing import Any

from celery import Celery
from celery.signals import worker_shutting_down

from core.settings import Settings
from core.storage.object_store import make_object_store
from core.tables import QueueName
from core.task_queue import TASK_NAME, make_celery, make_database
from workers.tasks.attempt import Worker
from workers.tasks.run_task import run_first_in_line


def run_worker(settings: Settings, queues: Sequence[QueueName], *, concurrency: int) -> int:
    """Work on the tasks of `queues` until SIGTERM or SIGINT; the process's exit status.

    On a signal the running parts are stopped and given back at once, so that another worker goes on.
    """
    celery = make_celery(settings)
    worker = Worker(
        settings=settings,
        database=make_database(settings, celery),
        store=make_object_store(settings),
        shutdown=Event(),
    )
    register_task(celery, worker)

    def shut_down(**_: Any) -> None:
        worker.shutdown.set()

    worker_shutting_down.connect(shut_down)
    try:
        process = celery.Worker(
            pool="threads",
            concurrency=concurrency,
            queues=list(queues),
            hostname=f"{'-'.join(queues)}-{os.getpid()}@{socket.gethostname()}",
            loglevel="INFO",
            quiet=True,
            without_gossip=True,
            without_mingle=True,
        )
        process.start()
    finally:
        worker_shutting_down.disconnect(shut_down)
        worker.database.close()
    return int(process.exitcode or 0)


def register_task(celery: Celery, worker: Worker) -> None:
    """Tell Celery what to do with a message."""

    def task(queue: QueueName) -> None:
        run_first_in_line(worker, queue)

    celery.task(task, name=TASK_NAME)
