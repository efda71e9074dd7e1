"""Run a command that dies with its parent, even where the parent is killed: no server outlives its test run.

    python tests/tied_process.py PARENT_PID USER COMMAND ...

USER is a user's name to run as, or "-". It is a program rather than a function that runs between fork and exec, because
the latter is not safe in a process with threads.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Become the command."""
    parent_pid, user, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    if user != "-":
        entry = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    # After the change of user, which would undo it.
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent_pid:
        sys.exit("the parent has gone")
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
