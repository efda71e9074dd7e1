"""The processes that `serve` starts: each leads a process group of its own, and none outlives `serve`.

The kernel kills each of them when `serve` dies, however it dies (`core.tied_exec`). What they start dies with them in
the same way, or at the end of its lifeline (`workers.sandbox`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from core.tied_exec import tied

PROJECT_FOLDER = Path(__file__).resolve().parent.parent.parent


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
    """A running program. It is killed when the thread that started it ends: start it from the main thread."""

    def __init__(self, program: Program, *, held_files: Sequence[int] = ()) -> None:
        """`held_files`: file descriptors that it inherits besides its own."""
        self.program = program
        self._process = subprocess.Popen(
            tied(program.command),
            stdin=subprocess.DEVNULL,
            pass_fds=(*program.held_files, *held_files),
            cwd=PROJECT_FOLDER,
            env={**os.environ, **program.environment},
            start_new_session=True,
        )

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
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        return self._process.returncode
