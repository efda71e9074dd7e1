from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import psutil
import pytest

from workers.ffmpeg.child_process import ChildLimits, ChildTimedOutError, LimitedProcess

PYTHON = (sys.executable, "-I", "-S", "-c")


def test_the_output_stderr_and_the_status_come_back() -> None:
    script = "import sys; print('one'); print('two'); print('oh', file=sys.stderr); sys.exit(3)"
    with LimitedProcess([*PYTHON, script], ChildLimits(), {}) as child:
        assert list(child.lines()) == ["one", "two"]
        assert child.finish() == 3
    assert child.stderr_tail == "oh"


def test_only_the_end_of_long_stderr_is_kept() -> None:
    script = "import sys; sys.stderr.write('x' * 1_000_000 + 'the end')"
    with LimitedProcess([*PYTHON, script], ChildLimits(), {}) as child:
        assert list(child.lines()) == []
        assert child.finish() == 0
    assert child.stderr_tail.endswith("xthe end")
    assert len(child.stderr_tail) == 4000


def test_nothing_of_this_environment_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STDO_S3_SECRET_ACCESS_KEY", "hidden")
    script = "import os; print(' '.join(sorted(os.environ)))"
    with LimitedProcess([*PYTHON, script], ChildLimits(), {"SVT_LOG": "1"}) as child:
        assert next(child.lines()).split() == ["LC_ALL", "PATH", "SVT_LOG"]


def test_a_child_that_says_nothing_is_killed() -> None:
    with (
        LimitedProcess(["/bin/sleep", "60"], ChildLimits(stall_seconds=0.3), {}) as child,
        pytest.raises(ChildTimedOutError),
    ):
        list(child.lines())
    assert not psutil.pid_exists(child.process_id)


def test_a_child_that_only_chatters_is_killed_too() -> None:
    script = "import time\nwhile True: print('busy', flush=True); time.sleep(0.05)"
    with (
        LimitedProcess([*PYTHON, script], ChildLimits(stall_seconds=0.5), {}) as child,
        pytest.raises(ChildTimedOutError),
    ):
        list(child.lines())


def test_progress_renews_the_patience_but_not_the_wall_clock() -> None:
    script = "import time\nwhile True: print('busy', flush=True); time.sleep(0.05)"
    limits = ChildLimits(stall_seconds=0.5, wall_seconds=1.5)
    started = time.monotonic()
    with LimitedProcess([*PYTHON, script], limits, {}) as child, pytest.raises(ChildTimedOutError):
        deque((child.made_progress() for _ in child.lines()), maxlen=0)
    assert time.monotonic() - started > 1.4


def test_leaving_early_kills_the_child() -> None:
    with LimitedProcess(["/bin/sleep", "60"], ChildLimits(), {}) as child:
        assert psutil.pid_exists(child.process_id)
    assert not psutil.pid_exists(child.process_id)


def test_the_limits_hold_in_the_child() -> None:
    limits = ChildLimits(cpu_seconds=7, address_space_bytes=2**30, file_bytes=2**20, open_files=40)
    script = (
        "from resource import *; print(*(getrlimit(kind)[1] for kind in "
        "(RLIMIT_CPU, RLIMIT_AS, RLIMIT_FSIZE, RLIMIT_NOFILE, RLIMIT_CORE)))"
    )
    with LimitedProcess([*PYTHON, script], limits, {}) as child:
        assert next(child.lines()) == f"7 {2**30} {2**20} 40 0"


def test_too_much_processor_time_ends_it() -> None:
    with LimitedProcess([*PYTHON, "while True: pass"], ChildLimits(cpu_seconds=1), {}) as child:
        list(child.lines())
        with pytest.raises(ChildTimedOutError, match="1 s of processor time"):
            child.finish()


def test_too_large_a_file_ends_it(tmp_path: Path) -> None:
    target = tmp_path / "large"
    arguments = ["/bin/dd", "if=/dev/zero", f"of={target}", "bs=1024", "count=4096"]
    with LimitedProcess(arguments, ChildLimits(file_bytes=2**20), {}) as child:
        list(child.lines())
        assert child.finish() == -signal.SIGXFSZ
    assert target.stat().st_size == 2**20


def test_the_child_dies_with_its_parent() -> None:
    script = (
        "from workers.ffmpeg.child_process import LimitedProcess, ChildLimits\n"
        "import time\n"
        "child = LimitedProcess(['/bin/sleep', '60'], ChildLimits(), {})\n"
        "print(child.process_id, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        process_id = int(parent.stdout.readline())
        _wait_until(lambda: psutil.Process(process_id).name() == "sleep")
        parent.kill()
    _wait_until(lambda: not _is_alive(process_id))


def _is_alive(process_id: int) -> bool:
    try:
        return psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wait_until(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
