from __future__ import annotations

import io

import pytest
from rich.console import Console

from stdo.cli import progress_display as module
from stdo.cli.progress_display import format_seconds, progress_display, show_job, show_transfer
from stdo.service.resources import StageProgress
from tests.stdo.service.scripted_service import make_job


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03")])
def test_seconds(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_plain_lines_come_when_a_row_begins_and_ends() -> None:
    lines = _lines_of_a_job()
    assert [line[8:] for line in lines] == [
        "Upload                      |  1/3 kB",
        "Upload                      |  3/3 kB",
        "Wait for a worker           |  job 0%",
        "Train the networks          |  0/400 steps  |  job 20%",
        "Train the networks          |  400/400 steps  |  job 90%, 0:07 left",
        "Publish the bundle          |  job 99%, 0:02 left",
    ]


def test_plain_lines_come_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS_BETWEEN_LINES", 0.0)
    middle = _lines_of_a_job()[5]
    assert middle[8:] == "Train the networks          |  200/400 steps  |  job 50%, 0:45 left"


def test_a_terminal_gets_bars() -> None:
    out = io.StringIO()
    _show(Console(file=out, force_terminal=True, width=120, color_system=None))
    last = out.getvalue().split("\x1b[2K")[-6:]
    text = "".join(last)
    for words in (
        "Upload",
        "Train the networks",
        "Publish the bundle",
        "The whole job",
        "400/400 steps",
        "99%",
        "0:02 left",
    ):
        assert words in text, text


def test_a_quiet_console_stays_quiet() -> None:
    out = io.StringIO()
    _show(Console(file=out, quiet=True))
    assert out.getvalue() == ""


def _lines_of_a_job() -> list[str]:
    out = io.StringIO()
    _show(Console(file=out, width=200))
    return out.getvalue().splitlines()


def _show(console: Console) -> None:
    with progress_display(console) as display:
        upload = show_transfer(display, "Upload")
        upload(1000, 3000)
        upload(2000, 3000)
        upload(3000, 3000)
        show_job(display, make_job("queued"))
        for done, progress, eta, speed in ((0, 0.2, None, None), (200, 0.5, 45.0, 10.0), (400, 0.9, 7.0, 12.0)):
            stage = StageProgress(done=done, total=400, unit="steps")
            report = make_job("training", progress=progress, stage_progress=stage, eta_seconds=eta, speed=speed)
            show_job(display, report)
        show_job(display, make_job("finishing", progress=0.99, stage="publish", eta_seconds=2.0))
