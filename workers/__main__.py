"""`python -m workers`: run, beat, step."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path
from threading import Event
from typing import Annotated

import typer

from core.errors import SettingsError
from core.settings import Settings, load_settings
from core.tables import QueueName

# The commands import what they need themselves: a worker must not load what its steps use, nor a step what the worker
# uses.

app = typer.Typer(help="The workers of the encoding service.", no_args_is_help=True, pretty_exceptions_enable=False)


@app.command()
def run(
    queue: Annotated[list[QueueName], typer.Option(help="A queue to work on. Repeatable.")],
    concurrency: Annotated[int, typer.Option(min=1, help="Tasks at a time; each uses all threads of a step.")] = 1,
) -> None:
    """Work on tasks until SIGTERM."""
    from workers.celery import run_worker

    _log_to_stderr()
    sys.exit(run_worker(_settings(), queue, concurrency=concurrency))


@app.command()
def beat() -> None:
    """Take back what dead workers held, and send again what was lost, until SIGTERM."""
    from workers.beat import run_beat

    shutdown = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: shutdown.set())
    _log_to_stderr()
    run_beat(_settings(), shutdown=shutdown)


@app.command()
def step(spec: Path) -> None:
    """One step of an encode; started by a worker, never by hand."""
    from workers.step import run as run_step

    sys.exit(run_step(spec))


def _settings() -> Settings:
    try:
        return load_settings()
    except SettingsError as error:
        sys.exit(error.detail)


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


if __name__ == "__main__":
    app()
