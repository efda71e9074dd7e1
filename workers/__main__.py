"""`python -m workers`: run, beat, part."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from threading import Event
from typing import get_args

from core.errors import SettingsError
from core.logs import configure_logging
from core.settings import Settings, load_settings
from core.tables import QueueName

# Each command imports what it needs itself: a part has no use for Celery, and starts sooner without it.


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

    run = commands.add_parser("run", help="work on parts of encodes until SIGTERM")
    run.add_argument(
        "--queue",
        action="append",
        required=True,
        choices=get_args(QueueName),
        help="a queue to work on; can be repeated",
    )
    run.add_argument("--concurrency", type=_positive, default=1, help="parts at a time, each of which uses all threads")
    run.set_defaults(command=_run)

    beat = commands.add_parser("beat", help="take back what dead workers held, and send again what was lost")
    beat.set_defaults(command=_beat)

    part = commands.add_parser("part", help="one part of an encode; started by a worker, never by hand")
    part.add_argument("spec", type=Path, help="file that says what to do")
    part.set_defaults(command=_part)
    return parser


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _run(arguments: argparse.Namespace) -> int:
    from workers.tasks.celery import run_worker

    return run_worker(_settings_and_log(), arguments.queue, concurrency=arguments.concurrency)


def _beat(_: argparse.Namespace) -> int:
    from workers.tasks.beat import run_beat

    shutdown = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: shutdown.set())
    run_beat(_settings_and_log(), shutdown=shutdown)
    return 0


def _part(arguments: argparse.Namespace) -> int:
    from workers.sandbox.child import carry_out

    return carry_out(arguments.spec)


def _settings_and_log() -> Settings:
    """The environment's settings, with the log set up as they say. Raises SettingsError."""
    settings = load_settings()
    configure_logging(as_json=settings.mode == "deployed")
    return settings


if __name__ == "__main__":
    sys.exit(main())
