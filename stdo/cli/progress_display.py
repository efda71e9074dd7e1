"""Progress on a screen: bars with the time left in a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from stdo.service.download import TransferProgress
from stdo.service.resources import Job, JobEvent, Stage, StageProgress

STAGE_TITLES: Mapping[Stage, str] = {
    "probe": "Probe the source",
    "encode": "Encode the base stream",
    "score": "Score the patches with f0",
    "group": "Group the patches",
    "train": "Train the networks",
    "export": "Export the networks",
    "measure": "Measure the quality",
    "publish": "Publish the bundle",
}
_SECONDS_BETWEEN_LINES = 5.0


class ProgressDisplay:
    """Shows how far some work is that has several pieces, one after another: a row for each.

    A line tells when a row begins or is complete, and every few seconds in between.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start = self._printed_at = time.monotonic()
        self._shown: tuple[str, bool] = ("", False)
        self._whole = ""

    def row(self, title: str, done: int, total: int, unit: str) -> None:
        """A piece has come so far. A new title begins the next row. A total of 0 is one that isn't known yet."""
        now, shown = time.monotonic(), (title, 0 < total == done)
        if shown == self._shown and now - self._printed_at < _SECONDS_BETWEEN_LINES:
            return
        parts = [part for part in (f"{title:26}", _amount(done, total, unit), self._whole) if part]
        line = f"{format_seconds(now - self._start):>6}  {'  |  '.join(parts)}"
        self._console.print(line.rstrip(), markup=False, highlight=False, soft_wrap=True)
        self._shown, self._printed_at = shown, now

    def whole(self, fraction: float, remaining_seconds: float | None) -> None:
        """How far all of it is, 0 to 1. Shown with the rows."""
        left = "" if remaining_seconds is None else f", {format_seconds(remaining_seconds)} left"
        self._whole = f"job {fraction:.0%}{left}"


class _Bars(ProgressDisplay):
    """A bar for each row, and one for the whole."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._title = ""

    def row(self, title: str, done: int, total: int, unit: str) -> None:
        if self._title not in ("", title):  # The row before is done, though its total may never have been known.
            self._bars.update(self._tasks[self._title], completed=1, total=1)
        self._title = title
        self._update(title, done, total or None, _amount(done, total, unit))

    def whole(self, fraction: float, remaining_seconds: float | None) -> None:
        self._update("[bold]The whole job", fraction, 1.0, f"{fraction:.0%}", remaining_seconds)

    def _update(
        self, title: str, done: float, total: float | None, state: str, remaining_seconds: float | None = None
    ) -> None:
        if title not in self._tasks:
            self._tasks[title] = self._bars.add_task(title, total=None, state="", remaining_seconds=None)
        task = self._tasks[title]
        self._bars.update(task, completed=done, total=total, state=state, remaining_seconds=remaining_seconds)


class _TimeLeftColumn(TimeRemainingColumn):
    """The time left as the service tells it, else as it is measured here."""

    def render(self, task: Task) -> Text:
        seconds: float | None = task.fields["remaining_seconds"]
        return super().render(task) if seconds is None else Text(f"{format_seconds(seconds)} left")


@contextmanager
def progress_display(console: Console) -> Iterator[ProgressDisplay]:
    """Progress as it suits the console."""
    if not console.is_terminal:
        yield ProgressDisplay(console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[state]}"))
    with Progress(*columns, _TimeLeftColumn(elapsed_when_finished=True), console=console) as bars:
        yield _Bars(bars)


def show_job(display: ProgressDisplay, report: Job | JobEvent) -> None:
    """One report of `Client.iterate_progress`."""
    display.whole(report.progress, report.eta_seconds)
    if report.stage is None:
        display.row("Wait for a worker", 0, 0, "")
        return
    progress = report.stage_progress or StageProgress(done=0, total=0, unit="steps")
    display.row(STAGE_TITLES[report.stage], progress.done, progress.total, progress.unit)


def show_transfer(display: ProgressDisplay, title: str) -> TransferProgress:
    """A callback for `Client.upload`, `encode` or `fetch` that shows its bytes as kB."""
    return lambda done, total: display.row(title, done // 1000, max(total // 1000, 1), "kB")


def _amount(done: int, total: int, unit: str) -> str:
    return f"{done}/{total} {unit}" if total else ""


def format_seconds(seconds: float) -> str:
    """`0:07`, `12:34` or `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
