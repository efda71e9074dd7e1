from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core import tied_exec
from core.tied_exec import tied
from tests.processes import is_alive, wait_until

PYTHON = (sys.executable, "-I", "-S", "-c")


def run(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


def test_it_becomes_the_program_under_its_limits() -> None:
    show = "import resource, sys; print(resource.getrlimit(resource.RLIMIT_NOFILE), sys.argv[1:])"
    assert run(tied([*PYTHON, show, "a b", ""], limits={"RLIMIT_NOFILE": 40})) == "(40, 40) ['a b', '']"


def test_a_limit_is_never_raised() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    show = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[1])"
    assert int(run(tied([*PYTHON, show], limits={"RLIMIT_NOFILE": hard + 1}))) == hard


def test_signals_are_as_a_program_expects_them() -> None:
    # Not by Python, which ignores these two itself.
    ignored = int(run(tied(["/bin/cat", "/proc/self/status"])).partition("SigIgn:")[2].split()[0], 16)
    assert ignored & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)) == 0


@pytest.mark.parametrize("death_signal", [signal.SIGKILL, signal.SIGTERM])
def test_it_dies_with_its_parent(tmp_path: Path, death_signal: signal.Signals) -> None:
    said = tmp_path / "said"
    code = (
        "import pathlib, signal, sys, time\n"
        f"said = pathlib.Path({str(said)!r})\n"
        "signal.signal(signal.SIGTERM, lambda *_: (said.write_text('asked'), sys.exit()))\n"
        "said.write_text('started')\n"
        "time.sleep(600)"
    )
    # The launcher is told the number of its parent, which here is a process in between.
    start = (
        f"import sys; sys.path.insert(0, {str(Path(tied_exec.__file__).parent.parent)!r})\n"
        "import signal, subprocess, time\n"
        "from core.tied_exec import tied\n"
        f"child = subprocess.Popen(tied([*{PYTHON!r}, {code!r}], death_signal=signal.Signals({int(death_signal)})))\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)"
    )
    with subprocess.Popen([*PYTHON, start], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        wait_until(said.exists, seconds=20, what="the start")
        parent.kill()
    wait_until(lambda: not is_alive(pid), seconds=20, what="the end")
    assert said.read_text() == ("asked" if death_signal == signal.SIGTERM else "started")


def test_it_does_not_start_where_the_parent_is_gone_already() -> None:
    command = tied(["/bin/echo", "never"])
    # As if another process had asked for it.
    command[command.index("/bin/echo") - 4] = "1"
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "the parent process 1 is gone" in ended.stderr
