"""The processes that `serve` starts: each leads a process group of its own, and none outlives `serve`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from app.serve.guard import kill_group

PROJECT_FOLDER = Path(__file__).resolve().parent.parent.parent


class Guard:
    """Kills the groups that it was told of when this process has died, however it died. See `app.serve.guard`."""

    def __init__(self, *, held_files: Sequence[int]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "app.serve.guard"],
            stdin=subprocess.PIPE,
            pass_fds=held_files,
            cwd=PROJECT_FOLDER,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    @property
    def has_died(self) -> bool:
        """Whether it was killed, so that nobody watches over the groups."""
        return self._process.poll() is not None

    def watch(self, group: int) -> None:
        """Watch over a group. Raises BrokenPipeError where the guard has died."""
        self._tell(f"+{group}\n")

    def forget(self, group: int) -> None:
        """Its number may belong to somebody else from now on. Raises BrokenPipeError where the guard has died."""
        self._tell(f"-{group}\n")

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode())
        self._process.stdin.flush()


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to run as a child."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    """On top of our own."""
    held_files: tuple[int, ...] = ()
    """File descriptors that it inherits under the same numbers."""


class Child:
    """A running program."""

    def __init__(self, program: Program, guard: Guard) -> None:
        self.program = program
        self._guard = guard
        self._process = subprocess.Popen(
            program.command,
            stdin=subprocess.DEVNULL,
            pass_fds=program.held_files,
            cwd=PROJECT_FOLDER,
            env={**os.environ, **program.environment},
            start_new_session=True,
        )
        guard.watch(self._process.pid)

    @property
    def has_ended(self) -> bool:
        """Whether its leader has ended. It is not reaped yet, so that its number can't belong to somebody else."""
        if self._process.returncode is not None:
            return True
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def ask_to_stop(self) -> None:
        """Ask the leader to end: it stops its own children."""
        if not self.has_ended:
            self._process.send_signal(signal.SIGTERM)

    def wait(self, *, until: float) -> bool:
        """Whether it ended before `until`, on the monotonic clock."""
        while not self.has_ended:
            if time.monotonic() >= until:
                return False
            time.sleep(0.02)
        return True

    def kill(self) -> int:
        """Leave nothing of the group; the leader's exit status."""
        if self._process.returncode is None:
            kill_group(self._process.pid)
            self._process.wait()
            with suppress(BrokenPipeError):
                self._guard.forget(self._process.pid)
        return self._process.returncode
