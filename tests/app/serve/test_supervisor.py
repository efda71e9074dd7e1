from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.serve import supervisor as supervision
from app.serve.child_processes import Child, Program
from app.serve.supervisor import ServeError, StopRequestedError, Supervisor
from tests.app.live import wait_until
from tests.processes import is_alive

SLEEP = "import time; time.sleep(600)"


def program(code: str, name: str = "the sleeper", **environment: str) -> Program:
    return Program(name=name, command=[sys.executable, "-c", code], environment=environment)


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    running = Supervisor()
    yield running
    running.stop()


def pids_in(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def log_pid(path: Path, then: str) -> str:
    return f"import os; open({str(path)!r}, 'a').write(f'{{os.getpid()}}\\n'); {then}"


class TestSupervisor:
    def test_starts_again_what_dies(self, supervisor: Supervisor, tmp_path: Path) -> None:
        pids = tmp_path / "pids"
        supervisor.start(program(log_pid(pids, SLEEP)))
        supervisor.wait_until(lambda: len(pids_in(pids)) == 1, seconds=20, what="the first did not start")
        os.kill(pids_in(pids)[0], signal.SIGKILL)
        supervisor.wait_until(lambda: len(pids_in(pids)) == 2, seconds=20, what="the second did not start")
        assert is_alive(pids_in(pids)[1])

    def test_gives_up_on_what_keeps_dying(
        self, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(supervision, "FIRST_PAUSE_SECONDS", 0.01)
        pids = tmp_path / "pids"
        supervisor.start(program(log_pid(pids, "raise SystemExit(7)"), name="the quitter"))
        with pytest.raises(ServeError, match=r"the quitter ended 5 times within 120 seconds, .* status 7"):
            supervisor.run()
        assert len(pids_in(pids)) == supervision.MOST_DEATHS

    def test_says_what_it_waited_for_in_vain(self, supervisor: Supervisor) -> None:
        with pytest.raises(ServeError, match="Nothing happened within 0 seconds"):
            supervisor.wait_until(lambda: False, seconds=0.2, what="Nothing happened")

    def test_stops_the_first_program_last(self, supervisor: Supervisor, tmp_path: Path) -> None:
        ends = tmp_path / "ends"
        code = (
            "import os, signal, sys, time\n"
            "def end(*_):\n"
            f"    time.sleep(float(os.environ['PAUSE'])); open({str(ends)!r}, 'a').write(os.environ['WHO'] + ' ')\n"
            "    sys.exit(0)\n"
            "signal.signal(signal.SIGTERM, end)\n"
            f"open({str(tmp_path)!r} + '/' + os.environ['WHO'], 'w')\n"
            "time.sleep(600)\n"
        )
        for who, pause in (("broker", "0"), ("api", "0.5"), ("worker", "0.2")):
            supervisor.start(program(code, WHO=who, PAUSE=pause))
        wait_until(lambda: all((tmp_path / who).exists() for who in ("broker", "api", "worker")), seconds=20)
        supervisor.stop()
        *others, last = ends.read_text().split()
        assert (sorted(others), last) == (["api", "worker"], "broker")

    def test_kills_what_does_not_stop_in_time(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(supervision, "STOP_SECONDS", 0.3)
        pids = tmp_path / "pids"
        deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        running = Supervisor()
        running.start(program(deaf + log_pid(pids, SLEEP)))
        wait_until(lambda: len(pids_in(pids)) == 1, seconds=20)
        running.stop()
        assert not is_alive(pids_in(pids)[0])

    def test_heeds_signals(self, supervisor: Supervisor) -> None:
        before = signal.getsignal(signal.SIGTERM)
        with supervisor.heeding_signals():
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
            supervisor.run()
            with pytest.raises(StopRequestedError):
                supervisor.start(program(SLEEP))
        assert signal.getsignal(signal.SIGTERM) is before


class TestChild:
    def test_takes_its_whole_group_along(self, tmp_path: Path) -> None:
        pids = tmp_path / "pids"
        inner = log_pid(pids, SLEEP)
        code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {inner!r}]); sys.exit(3)"
        child = Child(program(code))
        assert child.wait(until=time.monotonic() + 20)
        wait_until(lambda: len(pids_in(pids)) == 1, seconds=20)
        assert is_alive(pids_in(pids)[0])
        assert child.kill() == 3
        wait_until(lambda: not is_alive(pids_in(pids)[0]))
        assert child.has_ended

    def test_holds_files_open_for_as_long_as_it_lives(self, tmp_path: Path) -> None:
        pids = tmp_path / "pids"
        with (tmp_path / "lock").open("a") as file, (tmp_path / "lock").open("a") as another:
            fcntl.flock(file, fcntl.LOCK_EX)
            child = Child(program(log_pid(pids, SLEEP)), held_files=(file.fileno(),))
            wait_until(lambda: len(pids_in(pids)) == 1, seconds=20)
            file.close()
            with pytest.raises(BlockingIOError):
                fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)
            child.kill()
            fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)
