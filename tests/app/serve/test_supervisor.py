from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.serve import supervisor as supervision
from app.serve.child_processes import Child, Guard, Program
from app.serve.supervisor import ServeError, StopRequestedError, Supervisor
from tests.app.live import wait_until
from tests.processes import is_alive

SLEEP = "import time; time.sleep(600)"


def program(code: str, name: str = "the sleeper", **environment: str) -> Program:
    return Program(name=name, command=[sys.executable, "-c", code], environment=environment)


@pytest.fixture
def guard() -> Iterator[Guard]:
    with Guard(held_files=()) as running:
        yield running


@pytest.fixture
def supervisor(guard: Guard) -> Iterator[Supervisor]:
    running = Supervisor(guard)
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

    def test_kills_what_does_not_stop_in_time(
        self, guard: Guard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(supervision, "STOP_SECONDS", 0.3)
        pids = tmp_path / "pids"
        deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        running = Supervisor(guard)
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

    def test_ends_where_nobody_would_clean_up(self, supervisor: Supervisor, guard: Guard) -> None:
        os.kill(guard._process.pid, signal.SIGKILL)
        with pytest.raises(ServeError, match="cleans up"):
            supervisor.run()


class TestChild:
    def test_takes_its_whole_group_along(self, guard: Guard, tmp_path: Path) -> None:
        pids = tmp_path / "pids"
        inner = log_pid(pids, SLEEP)
        code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {inner!r}]); sys.exit(3)"
        child = Child(program(code), guard)
        assert child.wait(until=time.monotonic() + 20)
        wait_until(lambda: len(pids_in(pids)) == 1, seconds=20)
        assert is_alive(pids_in(pids)[0])
        assert child.kill() == 3
        wait_until(lambda: not is_alive(pids_in(pids)[0]))
        assert child.has_ended


class TestGuard:
    def test_kills_the_groups_that_it_still_watches(self, tmp_path: Path) -> None:
        pids = tmp_path / "pids"
        with Guard(held_files=()) as guard:
            children = [Child(program(log_pid(pids, SLEEP)), guard) for _ in range(2)]
            wait_until(lambda: len(pids_in(pids)) == 2, seconds=20)
            assert children[0].kill() == -signal.SIGKILL
            assert not children[1].has_ended
            # Orphans are reaped by the system. This one is ours.
            reaper = threading.Thread(target=children[1]._process.wait)
            reaper.start()
            # The guard's stdin closes here, as it does when this process is killed.
        reaper.join()
        assert not any(is_alive(pid) for pid in pids_in(pids))
