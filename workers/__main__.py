"""`python -m workers`: run, beat, step."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from pathlib import Path
from threading import Event
from typing import get_args

from core.errors import SettingsError
from core.settings import load_settings
from core.tables import QueueName

# Each command imports what it needs itself: a step has no use for Celery, and starts the sooner without it.


def main() -> int:
    """Carry out one command; the process's exit status."""
    arguments = _parser().parse_args()
    try:
        status: int = arguments.command(arguments)
    except SettingsError as error:
        sys.exit(error.detail)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers", description="The workers of the encoding service.")
    commands = parser.add_subparsers(required=True)

    run = commands.add_parser("run", help="work on tasks until SIGTERM")
    run.add_argument(
        "--queue",
        action="append",
        required=True,
        choices=get_args(QueueName),
        help="a queue to work on; can be repeated",
    )
    run.add_argument(
        "--concurrency", type=_positive, default=1, help="tasks at a time, each of which uses all threads of a step"
    )
    run.set_defaults(command=_run)

    beat = commands.add_parser("beat", help="take back what dead workers held, and send again what was lost")
    beat.set_defaults(command=_beat)

    step = commands.add_parser("step", help="one step of an encode; started by a worker, never by hand")
    step.add_argument("spec", type=Path, help="file that says what to do")
    step.set_defaults(command=_step)
    return parser


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _run(arguments: argparse.Namespace) -> int:
    from workers.tasks.celery import run_worker

    _log_to_stderr()
    return run_worker(load_settings(), arguments.queue, concurrency=arguments.concurrency)


def _beat(_: argparse.Namespace) -> int:
    from workers.tasks.beat import run_beat

    shutdown = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: shutdown.set())
    _log_to_stderr()
    run_beat(load_settings(), shutdown=shutdown)
    return 0


def _step(arguments: argparse.Namespace) -> int:
    from workers.sandbox.child import run_step

    return run_step(arguments.spec)


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


if __name__ == "__main__":
    sys.exit(main())
