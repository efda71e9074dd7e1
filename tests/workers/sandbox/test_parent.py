from __future__ import annotations

import logging
import os
import sys
import textwrap
import time
from pathlib import Path
from threading import Event, Timer

import pytest

from core.jobs.progress import StageReport
from stdo.service.resources import Failure
from tests.processes import is_alive
from workers.sandbox import parent as part_process
from workers.sandbox.parent import PartCrashedError, PartFailedError, run_part
from workers.sandbox.stop_signal import StoppedError, StopReason, StopSignal

REPORT_LINE = '{"progress": {"stage": "score", "done": %d, "total": 9, "unit": "frames"}}'


def report(done: int) -> StageReport:
    return StageReport(stage="score", done=done, total=9, unit="frames")


def run(
    script: str, *arguments: str, stop: StopSignal | None = None, no_progress_seconds: float = 30.0
) -> list[StageReport]:
    """Run a Python script as a part; what it reported."""
    reports: list[StageReport] = []
    run_part(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        environment={"PATH": os.environ["PATH"]},
        stop=stop or StopSignal(Event()),
        on_report=reports.append,
        no_progress_seconds=no_progress_seconds,
    )
    return reports


def stop_once(condition: Path, reason: StopReason) -> StopSignal:
    """A stop signal that is set as soon as the script has written a file."""
    stop = StopSignal(Event())

    def look() -> None:
        if condition.exists():
            stop.set(reason)
        else:
            Timer(0.02, look).start()

    look()
    return stop


def test_hands_on_every_report() -> None:
    reports = run(f"""
        for done in (0, 4, 9):
            print('{REPORT_LINE}' % done, flush=True)
    """)

    assert reports == [report(0), report(4), report(9)]


def test_takes_lines_that_come_in_pieces_and_the_last_words_of_a_fast_part() -> None:
    reports = run(f"""
        import sys, time
        line = '{REPORT_LINE}' % 3
        sys.stdout.write(line[:20]); sys.stdout.flush(); time.sleep(0.2)
        sys.stdout.write(line[20:] + "\\n" + '{REPORT_LINE}' % 9 + "\\n")
    """)

    assert reports == [report(3), report(9)]


@pytest.mark.parametrize(
    "line",
    [
        "'hello'",
        "'{}x'",
        """'{"progress": {"stage": "score", "done": 10, "total": 9, "unit": "frames"}}'""",
        """'{"progress": {"stage": "lunch", "done": 1, "total": 9, "unit": "frames"}}'""",
        "'x' * 10_000_000",
    ],
)
def test_lines_that_are_none_of_ours_change_nothing(line: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        reports = run(f"print({line}); print('{REPORT_LINE}' % 9)")

    assert reports == [report(9)]
    assert "no part line" in caplog.text


def test_a_failure_line_and_status_3_are_the_videos_fault() -> None:
    failure = Failure(type="no_frames", title="The video has no frames", detail="Upload another one.")

    with pytest.raises(PartFailedError) as caught:
        run("import sys; print(sys.argv[1]); sys.exit(3)", f'{{"failure": {failure.model_dump_json()}}}')

    assert caught.value.failure == failure


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("import sys; sys.exit(3)", "the part ended with status 3 (it left no message)"),
        ("raise OSError('no space left')", "the part ended with status 1 (OSError: no space left)"),
        ("import os; os.kill(os.getpid(), 9)", "the part was killed, most likely by the system for want of memory"),
        ("import os; os.kill(os.getpid(), 11)", "the part was ended by signal 11"),
        (
            """
            import sys
            print('{"failure": {"type": "no_frames", "title": "No frames", "detail": "None."}}')
            sys.exit(1)
            """,
            "the part ended with status 1",
        ),
    ],
)
def test_every_other_end_is_the_machinerys_fault(script: str, message: str) -> None:
    with pytest.raises(PartCrashedError) as caught:
        run(script)

    assert str(caught.value).startswith(message)


def test_keeps_the_end_of_stderr_alone(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(PartCrashedError, match="last words"):
        run("""
            import sys
            sys.stderr.write("first words " + "x" * 1_000_000 + "\\nlast words")
            sys.exit(1)
        """)

    assert "first words" not in caplog.text
    assert len(caplog.text) < 20_000


STUBBORN_FAMILY = """
    import os, signal, subprocess, sys, time
    from pathlib import Path
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(sys.argv[1] + ".new").write_text(f"{os.getpid()} {child.pid}")
    os.rename(sys.argv[1] + ".new", sys.argv[1])
"""


@pytest.mark.parametrize("reason", [StopReason.CANCELLED, StopReason.LEASE_LOST])
def test_a_stopped_part_leaves_no_process_even_if_it_ignores_the_polite_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: StopReason
) -> None:
    monkeypatch.setattr(part_process, "STOP_GRACE_SECONDS", 0.5)
    pids = tmp_path / "pids"

    with pytest.raises(StoppedError) as caught:
        run(STUBBORN_FAMILY + "    time.sleep(600)", str(pids), stop=stop_once(pids, reason))

    assert caught.value.reason is reason
    assert [is_alive(int(pid)) for pid in pids.read_text().split()] == [False, False]


def test_a_part_that_heeds_the_polite_signal_is_not_waited_for(tmp_path: Path) -> None:
    ready, said_goodbye = tmp_path / "ready", tmp_path / "goodbye"
    started_at = time.monotonic()

    with pytest.raises(StoppedError):
        run(
            """
            import signal, sys, time
            from pathlib import Path
            def end(*_):
                Path(sys.argv[2]).touch()
                sys.exit(0)
            signal.signal(signal.SIGTERM, end)
            Path(sys.argv[1]).touch()
            time.sleep(600)
            """,
            str(ready),
            str(said_goodbye),
            stop=stop_once(ready, StopReason.CANCELLED),
        )

    assert said_goodbye.exists()
    assert time.monotonic() - started_at < part_process.STOP_GRACE_SECONDS


def test_a_part_that_ends_well_takes_its_children_along(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    run(STUBBORN_FAMILY, str(pids))

    assert [is_alive(int(pid)) for pid in pids.read_text().split()] == [False, False]


def test_a_shut_down_worker_stops_its_part() -> None:
    shutdown = Event()
    Timer(0.3, shutdown.set).start()

    with pytest.raises(StoppedError) as caught:
        run("import time; time.sleep(600)", stop=StopSignal(shutdown))

    assert caught.value.reason is StopReason.SHUTDOWN


def test_a_part_without_progress_is_stopped(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    endless = (
        STUBBORN_FAMILY
        + f"""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True:
        print('{REPORT_LINE}' % 4, flush=True)
        time.sleep(0.05)
    """
    )

    with pytest.raises(PartCrashedError, match=r"stopped after 1 seconds without progress"):
        run(endless, str(pids), no_progress_seconds=1.0)

    assert [is_alive(int(pid)) for pid in pids.read_text().split()] == [False, False]


def test_progress_keeps_a_part_alive() -> None:
    reports = run(
        f"""
        import time
        for done in range(10):
            print('{REPORT_LINE}' % done, flush=True)
            time.sleep(0.2)
        """,
        no_progress_seconds=1.0,
    )

    assert len(reports) == 10


def test_signs_of_life_keep_a_part_alive_without_being_progress() -> None:
    """As while patches are gathered: the same figures after each frame, for longer than is waited for progress."""
    reports = run(
        """
        import time
        from workers.sandbox.child import ProgressWriter
        lines = ProgressWriter(1)
        ends_at = time.monotonic() + 4
        while time.monotonic() < ends_at:
            lines.progress("score", 0, 9, "frames")
            time.sleep(0.01)
        """,
        no_progress_seconds=2.0,
    )

    assert reports == [report(0)]
