"""A child process under resource limits: one thread reads its output, and keeps the end of its stderr."""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from core.tied_exec import tied

_STDERR_TAIL_BYTES = 4000
_READ_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ChildLimits:
    """What one child process may use."""

    wall_seconds: float = 12 * 3600.0
    """Time spent waiting for it, all in all."""
    stall_seconds: float = 600.0
    """Time spent waiting for its next sign of progress."""
    cpu_seconds: int = 48 * 3600
    address_space_bytes: int = 24 * 2**30
    """Far above what is used: threads reserve much more for their stacks and arenas than they touch."""
    file_bytes: int = 64 * 2**30
    """Of any file that it writes."""
    open_files: int = 256


class ChildTimedOutError(Exception):
    """The child was killed since it took longer than its limits allow."""


class LimitedProcess:
    """A running program. Leaving its `with` block kills it where it still runs.

    It has no stdin and nothing of this process's environment, and dies with the thread that started it.
    """

    def __init__(self, arguments: Sequence[str], limits: ChildLimits, environment: Mapping[str, str]) -> None:
        self._limits = limits
        self._waited_seconds = 0.0
        self._waited_since_progress = 0.0
        self._stderr_tail = bytearray()
        self._stderr_is_open = True
        self._process = subprocess.Popen(
            tied(arguments, limits=_resource_limits(limits)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            pipesize=_READ_BYTES,
            env={"PATH": os.defpath, "LC_ALL": "C", **environment},
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._stdout, self._stderr = self._process.stdout.fileno(), self._process.stderr.fileno()
        self._poll = select.poll()
        self._poll.register(self._stdout, select.POLLIN)
        self._poll.register(self._stderr, select.POLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    @property
    def process_id(self) -> int:
        return self._process.pid

    @property
    def stderr_tail(self) -> str:
        """The end of what it wrote to stderr."""
        return self._stderr_tail.decode(errors="replace").strip()

    def made_progress(self) -> None:
        """Start the patience for the next sign of progress anew."""
        self._waited_since_progress = 0.0

    def read_into(self, buffer: memoryview) -> int:
        """Read some of its stdout; 0 once it has ended. Raises ChildTimedOutError."""
        while self._stdout not in self._wait_until_readable():
            pass
        return os.readv(self._stdout, [buffer])

    def lines(self) -> Iterator[str]:
        """Its stdout, line by line. Raises ChildTimedOutError."""
        buffer = memoryview(bytearray(1 << 16))
        rest = b""
        while count := self.read_into(buffer):
            *whole, rest = (rest + bytes(buffer[:count])).split(b"\n")
            for line in whole:
                yield line.decode(errors="replace")

    def finish(self) -> int:
        """Wait for its end, once its stdout has ended; its exit status, negative for a signal.

        Raises:
            ChildTimedOutError
        """
        self._poll.unregister(self._stdout)
        while self._stderr_is_open:
            self._wait_until_readable()
        used_before = _cpu_seconds_of_ended_children()
        try:
            status = self._process.wait(self._limits.stall_seconds)
        except subprocess.TimeoutExpired:
            raise ChildTimedOutError("it closed its output and did not end") from None
        used = _cpu_seconds_of_ended_children() - used_before
        if status == -signal.SIGKILL and used > self._limits.cpu_seconds - 1:
            raise ChildTimedOutError(f"it used {self._limits.cpu_seconds} s of processor time")
        return status

    def _wait_until_readable(self) -> set[int]:
        """The pipes that have something to read, or have ended. What stderr has is taken at once."""
        patience = min(
            self._limits.wall_seconds - self._waited_seconds,
            self._limits.stall_seconds - self._waited_since_progress,
        )
        before = time.monotonic()
        readable = {descriptor for descriptor, _ in self._poll.poll(max(0.0, patience) * 1000)}
        waited = time.monotonic() - before
        self._waited_seconds += waited
        self._waited_since_progress += waited
        if not readable:
            raise ChildTimedOutError(
                f"it took {self._waited_seconds:.0f} s, the last {self._waited_since_progress:.0f} s without progress"
            )
        if self._stderr in readable:
            self._keep_stderr()
        return readable

    def _keep_stderr(self) -> None:
        news = os.read(self._stderr, _READ_BYTES)
        if not news:
            self._stderr_is_open = False
            self._poll.unregister(self._stderr)
        self._stderr_tail += news
        del self._stderr_tail[:-_STDERR_TAIL_BYTES]


def _cpu_seconds_of_ended_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _resource_limits(limits: ChildLimits) -> dict[str, int]:
    return {
        "RLIMIT_AS": limits.address_space_bytes,
        "RLIMIT_CPU": limits.cpu_seconds,
        "RLIMIT_FSIZE": limits.file_bytes,
        "RLIMIT_NOFILE": limits.open_files,
        "RLIMIT_CORE": 0,
    }
