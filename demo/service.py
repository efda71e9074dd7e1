"""Runs the service in embedded mode for as long as the demo needs it, as one would by hand."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.settings import ENVIRONMENT_PREFIX, variable_name
from core.tied_exec import tied
from demo.errors import DemoError

DATA_DIR_PREFIX = ".service-"
"""Of folders that a killed demo may leave behind."""
_READY_SECONDS = 120.0
_STOP_SECONDS = 30.0
_SHOWN_LOG_LINES = 15
_CHECKOUT = Path(__file__).resolve().parent.parent


@contextmanager
def embedded_service(log: Path) -> Iterator[str]:
    """Starts the service on a free port, with a data folder of its own; its URL. All of it is gone afterwards.

    Args:
        log: where the service's log goes. Large files go beside it.

    Raises:
        DemoError: the service doesn't start.
    """
    data_dir = Path(tempfile.mkdtemp(prefix=DATA_DIR_PREFIX, dir=log.parent))
    ready_file = data_dir / "ready.json"
    command = [sys.executable, "-m", "app", "serve", "--port", "0", "--ready-file", str(ready_file)]
    # Settings of a deployment that happen to be set here would lead the demo to its database, broker and store.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}
    environment = {**inherited, variable_name("data_dir"): str(data_dir)}
    try:
        with log.open("wb") as log_file:
            service = subprocess.Popen(
                # Even where the demo is killed, the service is asked to stop.
                tied(command, death_signal=signal.SIGTERM),
                cwd=_CHECKOUT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                # A Ctrl-C in the terminal is for the demo alone, which then stops the service in good order.
                start_new_session=True,
            )
        try:
            yield _wait_until_ready(service, ready_file, log)
        finally:
            _stop(service)
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


def _wait_until_ready(service: subprocess.Popen[bytes], ready_file: Path, log: Path) -> str:
    """`serve` writes the file once /readyz says that all parts answer."""
    deadline = time.monotonic() + _READY_SECONDS
    while not ready_file.exists():
        if service.poll() is not None:
            raise DemoError(f"The service ended while it started. The end of {log}:\n{_tail(log)}")
        if time.monotonic() > deadline:
            raise DemoError(f"The service was not ready after {_READY_SECONDS:.0f} seconds. {log}:\n{_tail(log)}")
        time.sleep(0.1)
    url = json.loads(ready_file.read_text())["url"]
    assert isinstance(url, str)
    return url


def _stop(service: subprocess.Popen[bytes]) -> None:
    service.terminate()
    try:
        service.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        service.kill()
        service.wait()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-_SHOWN_LOG_LINES:])
