"""Embedded mode: the whole service as one process tree, on a folder."""

from __future__ import annotations

import fcntl
import http.client
import json
import logging
import os
import secrets
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr
from redis import Redis
from redis.exceptions import RedisError

from app.http.origins import is_loopback_name
from app.serve.child_processes import Program
from app.serve.server import listen, url_of
from app.serve.supervisor import ServeError, StopRequestedError, Supervisor
from app.uploads.receive import remove_stale_uploads
from core.clock import utc_now
from core.database import make_engine, migrate
from core.jobs import job_states
from core.logs import configure_logging
from core.settings import Settings, variable_name
from core.task_queue import make_celery, make_database
from core.valkey_server import LOOPBACK, prepare_valkey, valkey_url

LOCK_SECONDS = 5.0
"""For the children of a predecessor that was killed to be gone: they hold the lock as long as one of them lives."""
BROKER_SECONDS = 30.0
READY_SECONDS = 60.0

log = logging.getLogger(__name__)


def serve(settings: Settings, *, host: str, port: int, ready_file: Path | None) -> None:
    """Run the service until SIGTERM or SIGINT. Raises ServeError where it can't be started or can't go on."""
    configure_logging(as_json=False)
    if ready_file is not None and not ready_file.parent.is_dir():
        raise ServeError(f"There is no folder {ready_file.parent} for --ready-file. Make it, or name another one.")
    settings = settings.model_copy(update={"data_dir": settings.data_dir.absolute()})
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with listen(host, port) as listener, _lock(settings.data_dir) as lock:
        # While anything of this run lives, no other may start on the folder.
        supervisor = Supervisor(held_files=(lock,))
        with supervisor.heeding_signals():
            try:
                _start(supervisor, settings, listener, keys_required=not is_loopback_name(host))
                _announce(url_of(listener), ready_file)
                supervisor.run()
            except StopRequestedError:
                log.info("stopped before it was ready")
            finally:
                log.info("stopping")
                supervisor.stop()
                if ready_file is not None:
                    ready_file.unlink(missing_ok=True)


@contextmanager
def _lock(data_dir: Path) -> Iterator[int]:
    """Hold the folder for ourselves alone; the open file that does it."""
    deadline = time.monotonic() + LOCK_SECONDS
    with (data_dir / "serve.lock").open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise ServeError(
                        f"Another service runs on {data_dir}. Stop it, or choose another folder with "
                        f"{variable_name('data_dir')}."
                    ) from None
                time.sleep(0.1)
            else:
                yield file.fileno()
                return


def _start(supervisor: Supervisor, settings: Settings, listener: socket.socket, *, keys_required: bool) -> None:
    remove_stale_uploads(settings, older_than_seconds=0)
    engine = make_engine(settings)
    migrate(engine)
    engine.dispose()
    if settings.redis_url is None:
        settings = _start_broker(supervisor, settings)
    take_back_parts(settings)
    environment = {
        variable_name("data_dir"): str(settings.data_dir),
        variable_name("redis_url"): settings.broker_url,
    }
    api = [sys.executable, "-m", "app", "api", "--fd", str(listener.fileno())]
    if keys_required:
        api.append("--keys-required")
    supervisor.start(Program(name="the API", command=api, environment=environment, held_files=(listener.fileno(),)))
    for name, arguments in _WORKERS.items():
        command = [sys.executable, "-m", "workers", *arguments]
        supervisor.start(Program(name=name, command=command, environment=environment))
    url = url_of(listener)
    supervisor.wait_until(lambda: _is_ready(url), seconds=READY_SECONDS, what="The API did not become ready")


_WORKERS: Mapping[str, tuple[str, ...]] = {
    "the CPU worker": ("run", "--queue", "cpu"),
    "the GPU worker": ("run", "--queue", "gpu"),
    "the beat": ("beat",),
}


def _start_broker(supervisor: Supervisor, settings: Settings) -> Settings:
    """Start a private broker on a free port of the loopback; the settings with its address."""
    with socket.create_server((LOOPBACK, 0)) as probe:
        port: int = probe.getsockname()[1]
    password = secrets.token_urlsafe(32)
    command = prepare_valkey(settings.data_dir / "broker", port=port, password=password)
    supervisor.start(Program(name="the broker", command=command, environment={}))
    url = valkey_url(port=port, password=password)
    supervisor.wait_until(lambda: _answers(url), seconds=BROKER_SECONDS, what="The broker did not start")
    return settings.model_copy(update={"redis_url": SecretStr(url)})


def _answers(url: str) -> bool:
    with Redis.from_url(url, socket_timeout=1) as client:
        try:
            return bool(client.ping())
        except RedisError:
            return False


def take_back_parts(settings: Settings) -> None:
    """Queue what the workers of the service's last run held when it ended.

    The lock on the folder says that none of them lives, which holds for the database in that folder alone: workers of
    another service may be at work on one that the settings name.
    """
    own_database = settings.database_url is None
    database = make_database(settings, make_celery(settings))
    with database.transaction() as session:
        count = job_states.reap(session, now=utc_now(), max_attempts=settings.max_attempts, include_live=own_database)
    database.close()
    if count:
        log.info("%d interrupted parts are taken up again", count)


def _is_ready(url: str) -> bool:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def _announce(url: str, ready_file: Path | None) -> None:
    print(f"The service is ready at {url}\nIts documentation is at {url}/docs", flush=True)  # noqa: T201
    if ready_file is not None:
        partial = ready_file.with_name(ready_file.name + ".partial")
        partial.write_text(json.dumps({"url": url, "docs_url": f"{url}/docs", "pid": os.getpid()}) + "\n")
        partial.replace(ready_file)
