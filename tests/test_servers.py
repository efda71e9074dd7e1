from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOLD = """
import time
from tests import servers
with servers.{server}():
    print("started", flush=True)
    time.sleep(600)
"""


def children_of(pid: int) -> set[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return {int(line) for line in listed.stdout.split()}


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
@pytest.mark.parametrize("server", ["valkey", "postgresql", "s3"])
def test_no_server_outlives_a_killed_test_run(server: str) -> None:
    # Not below pytest's own folder, whose path may be too long for a Unix socket.
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        subprocess.Popen(
            [sys.executable, "-c", HOLD.format(server=server)],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": folder},
            stdout=subprocess.PIPE,
            text=True,
        ) as run,
    ):
        Path(folder).chmod(0o755)
        assert run.stdout is not None
        assert run.stdout.readline() == "started\n"
        servers = children_of(run.pid)
        assert servers
        run.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + 10
        while any(is_running(pid) for pid in servers):
            assert time.monotonic() < deadline, f"{server} is still running"
            time.sleep(0.05)
