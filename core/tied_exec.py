"""Children that die with the process that started them, however that one dies.

    python -I -S tied_exec.py PARENT_PID SIGNAL LIMITS USER PROGRAM ARGUMENTS...

The kernel sends SIGNAL to the program once its parent is gone (PR_SET_PDEATHSIG of Linux). More exactly, once the
*thread* that started it is gone: start such a child from a thread that outlives it. What the child itself starts is
not included, and has to be tied in turn.

A program of its own and not a hook between fork and exec: such a hook can deadlock in a process with threads.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
import signal
import sys
from collections.abc import Mapping, Sequence

_PR_SET_PDEATHSIG = 1


def tied(
    command: Sequence[str],
    *,
    death_signal: signal.Signals = signal.SIGKILL,
    limits: Mapping[str, int] | None = None,
    user: str | None = None,
) -> list[str]:
    """The command, tied to this process.

    Args:
        death_signal: what the program gets when this process is gone.
        limits: resource limits by their names, such as `RLIMIT_CPU`; in bytes, seconds or files. Where the system
            allows less, that counts.
        user: as whom the program runs; for root alone, and for programs that refuse to run as root.
    """
    words = ",".join(f"{name}={value}" for name, value in (limits or {}).items())
    # Python alone, without the packages' start-up.
    launcher = [sys.executable, "-I", "-S", __file__]
    return [*launcher, str(os.getpid()), str(int(death_signal)), words or "-", user or "-", *command]


def main() -> None:
    """Set the limits, the user and the signal, then become the program."""
    parent, death_signal, limits, user, *command = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]
    for limit in limits.split(",") if limits != "-" else ():
        name, _, value = limit.partition("=")
        _lower_limit(getattr(resource, name), int(value))
    if user != "-":
        _become(user)
    # After the change of user, which would undo it.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal)
        # The parent may have died before the line above.
        if os.getppid() != parent:
            sys.exit(f"the parent process {parent} is gone")
    # Python ignores these two, and an ignored signal stays ignored in the next program.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.execv(command[0], command)  # noqa: S606 - an argument list, no shell


def _lower_limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    bounded = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (bounded, bounded))


def _become(user: str) -> None:
    entry = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


if __name__ == "__main__":
    main()
