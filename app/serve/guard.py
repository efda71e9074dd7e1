"""A small process that outlives `serve` by a moment, to kill what `serve` has started.

`serve` itself stops its children when it is asked to. When it is killed it can't: its end of this process's stdin then
closes, and the process groups that were named on it are killed. The lock on the data folder, which this process shares,
is held until they are gone.

Lines on stdin: `+<group>` and `-<group>`, the number of a process group to watch over, or no longer.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

GONE_SECONDS = 3.0
POLL_SECONDS = 0.02


def main() -> None:
    """Wait for the end of stdin, then kill."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    deadline = time.monotonic() + GONE_SECONDS
    while groups and time.monotonic() < deadline:
        groups = {group for group in groups if kill_group(group)}
        time.sleep(POLL_SECONDS)


def kill_group(group: int) -> bool:
    """Kill a process group; whether anything of it was still there."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
        return True
    return False


if __name__ == "__main__":
    main()
