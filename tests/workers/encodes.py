"""Videos and jobs in a deployment, and the worker processes that work on them."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import MappingProxyType
from typing import Any

from core.callers import LOCAL_CALLER
from core.clock import utc_now
from core.jobs import jobs, videos
from core.presets import resolve_settings
from core.storage.keys import source_key
from core.tables import new_id
from core.tied_exec import tied
from tests.deployments import Deployment
from workers.tasks.attempt import Worker

TINY: Mapping[str, Any] = {
    "patches": {"width": 32, "height": 24},
    "groups": {"count": 2},
    "training": {"steps": 8, "batch_size": 2},
    "base_stream": {"speed": "fast"},
}
"""Settings that make an encode of a small clip as short as it can be."""


def in_process_worker(deployment: Deployment) -> Worker:
    """A worker without Celery: tests hand it parts themselves."""
    return Worker(settings=deployment.settings, database=deployment.database, store=deployment.store, shutdown=Event())


def upload(deployment: Deployment, path: Path) -> str:
    """The id of a video with these bytes."""
    video_id = new_id()
    deployment.store.put_file(source_key(video_id), path)
    content = path.read_bytes()
    with deployment.database.transaction() as session:
        videos.create(
            session,
            LOCAL_CALLER,
            video_id=video_id,
            file_name=path.name,
            byte_count=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            now=utc_now(),
        )
    return video_id


def start_job(deployment: Deployment, video_id: str, overrides: Mapping[str, Any] = TINY) -> str:
    """The id of a new job."""
    with deployment.database.transaction() as session:
        settings = resolve_settings("fast", overrides)
        row = jobs.create(session, LOCAL_CALLER, video_id=video_id, preset="fast", settings=settings, now=utc_now())
        return row.id


@contextmanager
def worker_process(
    deployment: Deployment,
    *queues: str,
    log: Path,
    concurrency: int = 1,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m workers run`, stopped at the end as an operator would."""
    options = [word for queue in queues for word in ("--queue", queue)]
    command = [sys.executable, "-m", "workers", "run", *options, "--concurrency", str(concurrency)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            tied(command, death_signal=signal.SIGTERM),
            env={**os.environ, **deployment.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        finally:
            process.kill()
            process.wait()
