from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import text

from core.clock import utc_now
from core.jobs import job_states
from core.task_queue import queue_depth
from tests.core.samples import encoded_job, load_part, new_job, new_video, part_id_of
from tests.deployments import Deployment
from tests.processes import wait_until


@contextmanager
def beat(deployment: Deployment, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "workers", "beat"],
        env={**os.environ, **deployment.environment, "STDO_REAP_INTERVAL_SECONDS": "0.2", **settings},
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_takes_back_a_dead_workers_part_and_sends_lost_messages(deployment: Deployment) -> None:
    dead = part_id_of(deployment.database, new_video(deployment.database), "probe")
    lost = part_id_of(deployment.database, encoded_job(deployment.database), "plan")
    with deployment.database.transaction() as session:
        claim = job_states.claim(session, dead, now=utc_now(), lease=timedelta(seconds=0.1))
        assert claim is not None
    deployment.celery.control.purge()
    assert queue_depth(deployment.settings, "gpu") == 0

    with beat(deployment, STDO_RESEND_AFTER_SECONDS="0.2"):
        wait_until(lambda: load_part(deployment.database, dead).state == "queued", seconds=30, what="the reaping")
        wait_until(lambda: queue_depth(deployment.settings, "gpu") == 1, seconds=10, what="the message")

    assert load_part(deployment.database, lost).attempt == 0


def test_outlives_a_database_that_fails_and_ends_on_sigterm(embedded_deployment: Deployment) -> None:
    def rename(old: str, new: str) -> None:
        with embedded_deployment.database.transaction() as session:
            session.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))

    part_id = part_id_of(embedded_deployment.database, new_job(embedded_deployment.database), "encode")
    with embedded_deployment.database.transaction() as session:
        assert job_states.claim(session, part_id, now=utc_now(), lease=timedelta(seconds=0.1)) is not None
    rename("parts", "parts_elsewhere")

    with beat(embedded_deployment) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, b"")
        assert any(b"housekeeping failed and will be tried again" in line for line in lines)
        rename("parts_elsewhere", "parts")
        wait_until(
            lambda: load_part(embedded_deployment.database, part_id).state == "queued", seconds=10, what="the reaping"
        )
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=10)

    assert process.returncode == 0
    assert b"Traceback" not in rest.rpartition(b"taken back")[2]
