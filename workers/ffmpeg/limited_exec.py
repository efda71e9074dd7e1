"""Become another program, under resource limits, that dies with the process that asked for it.

    python -I -S limited_exec.py PARENT_PID ADDRESS_SPACE CPU_SECONDS FILE_BYTES OPEN_FILES PROGRAM ARGUMENTS...

A program of its own and not a hook between fork and exec: such a hook can deadlock in a process with threads.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Set the limits, then replace this process."""
    parent, address_space, cpu_seconds, file_bytes, open_files = (int(word) for word in sys.argv[1:6])
    for kind, value in (
        (resource.RLIMIT_AS, address_space),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, open_files),
        (resource.RLIMIT_CORE, 0),
    ):
        _lower_limit(kind, value)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have died before the line above.
        if os.getppid() != parent:
            sys.exit(f"the parent process {parent} is gone")
    # Python ignores these two, and an ignored signal stays ignored in the next program.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.execv(sys.argv[6], sys.argv[6:])  # noqa: S606 - an argument list, no shell


def _lower_limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    bounded = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (bounded, bounded))


if __name__ == "__main__":
    main()
