"""Keeps the processes of embedded mode running: starts them in order, again when they die, and stops them together."""

from __future__ import annotations

import logging
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from app.serve.child_processes import Child, Program

POLL_SECONDS = 0.1
FIRST_PAUSE_SECONDS = 0.5
MOST_DEATHS = 5
DEATHS_WINDOW_SECONDS = 120.0
STOP_SECONDS = 20.0
"""For what is at work to come to a stop and give its tasks back. What takes longer is killed."""

log = logging.getLogger(__name__)


class ServeError(Exception):
    """The service can't be started, or can't go on. The message says what to do."""


class StopRequestedError(Exception):
    """Somebody asked for the end while the service was starting."""


@dataclass(kw_only=True)
class _Entry:
    program: Program
    child: Child | None
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_DEATHS))
    restart_at: float = 0.0


class Supervisor:
    """Runs programs until it is asked to stop, by SIGTERM or SIGINT. A second signal stops at once."""

    def __init__(self, *, held_files: Sequence[int] = ()) -> None:
        """`held_files`: open files that every program inherits, so that they stay open while one of them lives."""
        self._held_files = held_files
        self._entries: list[_Entry] = []
        self._signals = 0

    @contextmanager
    def heeding_signals(self) -> Iterator[None]:
        """Take SIGTERM and SIGINT as the wish to stop."""

        def handle(*_: object) -> None:
            self._signals += 1

        before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def start(self, program: Program) -> None:
        """Start a program, and keep it running from now on."""
        self.check_signals()
        self._entries.append(_Entry(program=program, child=self._start(program)))

    def wait_until(self, condition: Callable[[], bool], *, seconds: float, what: str) -> None:
        """Keep the programs running until the condition holds.

        Raises: StopRequestedError; ServeError where it does not hold within `seconds`, or a program keeps dying.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            self.check_signals()
            self._look_after()
            if time.monotonic() >= deadline:
                raise ServeError(f"{what} within {seconds:.0f} seconds. The messages above may tell why.")
            time.sleep(POLL_SECONDS)

    def run(self) -> None:
        """Keep the programs running until a signal comes. Raises ServeError where one keeps dying."""
        while not self._signals:
            self._look_after()
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Stop everything, and what was started first last: the others rely on it while they stop."""
        deadline = time.monotonic() + STOP_SECONDS
        running = [entry.child for entry in self._entries if entry.child is not None]
        for children in (running[1:], running[:1]):
            for child in children:
                child.ask_to_stop()
            for child in children:
                self._wait_and_kill(child, deadline)
        self._entries.clear()

    def _wait_and_kill(self, child: Child, deadline: float) -> None:
        while not child.wait(until=min(deadline, time.monotonic() + POLL_SECONDS)):
            if self._signals > 1 or time.monotonic() >= deadline:
                log.warning("%s did not stop in time and was killed", child.program.name)
                break
        child.kill()

    def check_signals(self) -> None:
        """Raise StopRequestedError where a signal has come."""
        if self._signals:
            raise StopRequestedError

    def _start(self, program: Program) -> Child:
        return Child(program, held_files=self._held_files)

    def _look_after(self) -> None:
        for entry in self._entries:
            if entry.child is not None and entry.child.has_ended:
                self._note_death(entry, entry.child)
            elif entry.child is None and time.monotonic() >= entry.restart_at:
                entry.child = self._start(entry.program)

    def _note_death(self, entry: _Entry, child: Child) -> None:
        status = child.kill()
        now = time.monotonic()
        entry.child = None
        entry.deaths.append(now)
        recent = sum(now - death < DEATHS_WINDOW_SECONDS for death in entry.deaths)
        if recent == MOST_DEATHS:
            raise ServeError(
                f"{entry.program.name} ended {recent} times within {DEATHS_WINDOW_SECONDS:.0f} seconds, the last time "
                f"with status {status}. Its messages above tell why."
            )
        pause = FIRST_PAUSE_SECONDS * 2 ** (recent - 1)
        entry.restart_at = now + pause
        log.warning("%s ended with status %d; it is started again in %.1f s", entry.program.name, status, pause)
