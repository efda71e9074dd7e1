"""The parent's side of a part: a child process that can be stopped at any moment and leaves no process behind.

The child leads a session and process group of its own. Its stdin is a lifeline: it closes when this process dies,
however it dies, and the child then kills its own group (`workers.sandbox.child`). Its stdout carries `PartLine`s.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from core.jobs.progress import StageReport
from stdo.service.resources import Failure
from workers.sandbox.part_spec import EXIT_FAILURE, PartLine
from workers.sandbox.stop_signal import StopSignal

PROJECT_FOLDER = Path(__file__).resolve().parent.parent.parent
POLL_SECONDS = 0.1
STOP_GRACE_SECONDS = 5.0
"""Between the polite signal and the one that can't be ignored."""
DEATH_SECONDS = 1.0
"""How long to wait for killed processes to vanish. They do so much sooner, unless their new parent (process 1 of a
container, often) never reaps them: those stay in the group for ever."""
LONGEST_LINE_BYTES = 64 * 1024
STDERR_TAIL_BYTES = 16 * 1024
READ_BYTES = 64 * 1024
LAST_READS = 64
"""What the dead group left in its pipes is far less than so many reads."""

logger = logging.getLogger(__name__)


class PartFailedError(Exception):
    """The video, or what was asked for, can't work: trying again would end the same way."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


class PartCrashedError(Exception):
    """The machinery failed: trying again may work. The message says how the part ended, as part of a sentence."""


def run_part(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    stop: StopSignal,
    on_report: Callable[[StageReport], None],
    no_progress_seconds: float,
) -> None:
    """Run a part to its end, and hand on what it says of its progress.

    Raises:
        PartFailedError: the part said why it can't work.
        PartCrashedError: it ended in any other way, or made no progress for `no_progress_seconds`.
        StoppedError: `stop` was set. Of the part's process group nothing is left by then.
    """
    with _RunningPart(command, environment, on_report) as part:
        while not part.has_exited():
            part.listen(POLL_SECONDS)
            if stop.reason is not None:
                part.terminate()
                stop.check()
            if part.seconds_without_progress > no_progress_seconds:
                part.terminate()
                raise PartCrashedError(f"the part was stopped after {no_progress_seconds:.0f} seconds without progress")
    part.raise_failure()


class _RunningPart:
    """A running part and what it has said so far."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], on_report: Callable[[StageReport], None]
    ) -> None:
        self._on_report = on_report
        self._line = bytearray()
        self._stderr_tail = bytearray()
        self._failure: Failure | None = None
        self._report: StageReport | None = None
        self._last_progress = time.monotonic()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=PROJECT_FOLDER,
            env=environment,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._selector = selectors.DefaultSelector()
        for stream, take in ((self._process.stdout, self._take_stdout), (self._process.stderr, self._take_stderr)):
            self._selector.register(stream, selectors.EVENT_READ, take)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Whoever is left of the group dies before the leader is reaped: until then its number can't belong to others.
        self._signal_group(signal.SIGKILL)
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        for _ in range(LAST_READS):
            if not self.listen(0.0):
                break
        self._process.wait()
        self._wait_for_group()
        self._selector.close()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def has_exited(self) -> bool:
        """Whether the child has ended. It is not reaped yet."""
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    @property
    def seconds_without_progress(self) -> float:
        """Since the part last said something new, or gave a sign of life."""
        return time.monotonic() - self._last_progress

    def listen(self, timeout_seconds: float) -> bool:
        """Take some of what the child has written, or wait for it; whether there was any."""
        if not self._selector.get_map():
            time.sleep(timeout_seconds)
            return False
        ready = self._selector.select(timeout_seconds)
        for key, _ in ready:
            if data := os.read(key.fd, READ_BYTES):
                key.data(data)
            else:
                self._selector.unregister(key.fileobj)
        return bool(ready)

    def terminate(self) -> None:
        """Ask the group to end, and wait a little for the leader. __exit__ ends whoever stays."""
        self._signal_group(signal.SIGTERM)
        deadline = time.monotonic() + STOP_GRACE_SECONDS
        while not self.has_exited() and time.monotonic() < deadline:
            self.listen(POLL_SECONDS)

    def raise_failure(self) -> None:
        """Raise the error that the child's end means; do nothing where it went well."""
        status = self._process.returncode
        if status == 0:
            return
        if status == EXIT_FAILURE and self._failure is not None:
            raise PartFailedError(self._failure)
        tail = self._stderr_tail.decode(errors="replace").strip()
        logger.error("a part ended with status %d:\n%s", status, tail)
        raise PartCrashedError(_explain(status, tail))

    def _signal_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return  # Everybody has gone.

    def _wait_for_group(self) -> None:
        """Let the killed die, for they may still be writing to the part's folder or hold memory of a GPU."""
        deadline = time.monotonic() + DEATH_SECONDS
        try:
            while time.monotonic() < deadline:
                os.killpg(self._process.pid, 0)
                time.sleep(DEATH_SECONDS / 200)
        except ProcessLookupError:
            return

    def _take_stderr(self, data: bytes) -> None:
        self._stderr_tail += data
        del self._stderr_tail[:-STDERR_TAIL_BYTES]

    def _take_stdout(self, data: bytes) -> None:
        *lines, rest = (self._line + data).split(b"\n")
        for line in lines:
            self._take_line(line)
        self._line = rest[:LONGEST_LINE_BYTES]

    def _take_line(self, text: bytearray) -> None:
        # A part has met untrusted input, so that its word is checked like anyone's.
        try:
            line = PartLine.model_validate_json(text)
        except ValidationError:
            logger.warning("a part said something that is no part line: %r", bytes(text[:200]))
            return
        if line.failure is not None:
            self._failure = line.failure
        if line.alive:
            self._last_progress = time.monotonic()
        if line.progress is not None and line.progress != self._report:
            self._report = line.progress
            self._last_progress = time.monotonic()
            self._on_report(line.progress)


def _explain(status: int, stderr_tail: str) -> str:
    last_line = stderr_tail.splitlines()[-1][:300] if stderr_tail else "it left no message"
    if status == -signal.SIGKILL:
        return f"the part was killed, most likely by the system for want of memory ({last_line})"
    if status < 0:
        return f"the part was ended by signal {-status} ({last_line})"
    return f"the part ended with status {status} ({last_line})"
