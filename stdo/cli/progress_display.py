"""Progress on a screen: bars with the time left in a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from stdo.service.download import TransferProgress
from stdo.service.resources import Job, JobEvent, Stage

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


class ProgressDisplay(Protocol):
    """Shows how far some work is that has several pieces, one after another: a row for each."""

    def row(self, title: str, done: int, total: int, unit: str, *, speed: float | None = None) -> None:
        """A piece has come so far. `speed` is in units per second, where it is known.

        A new title begins the next row and completes the one before. A total of 0 is one that isn't known yet.
        """
        ...

    def whole(self, fraction: float, remaining_seconds: float | None) -> None:
        """How far all of it is, 0 to 1. Shown with the rows."""
        ...


@contextmanager
def progress_display(console: Console) -> Iterator[ProgressDisplay]:
    """Progress as it suits the console."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[state]}"))
    with Progress(*columns, _TimeLeftColumn(elapsed_when_finished=True), console=console) as bars:
        display = _Bars(bars)
        yield display
        display.complete()


def show_job(display: ProgressDisplay, report: Job | JobEvent) -> None:
    """One report of `Client.iterate_progress`."""
    display.whole(report.progress, report.eta_seconds)
    if report.stage is None:
        display.row("Wait for a worker", 0, 0, "")
    elif (progress := report.stage_progress) is None:
        display.row(STAGE_TITLES[report.stage], 0, 0, "")
    else:
        title = STAGE_TITLES[report.stage]
        display.row(title, progress.done, progress.total, progress.unit, speed=report.speed)


def show_transfer(display: ProgressDisplay, title: str) -> TransferProgress:
    """A callback for `Client.upload`, `encode` or `fetch` that shows its bytes as kB."""
    return lambda done, total: display.row(title, done // 1000, max(total // 1000, 1), "kB")


class _TimeLeftColumn(TimeRemainingColumn):
    """The time left as the service tells it, else as it is measured here."""

    def render(self, task: Task) -> Text:
        seconds: float | None = task.fields["remaining_seconds"]
        return super().render(task) if seconds is None else Text(f"{format_seconds(seconds)} left")


class _Bars:
    """One bar for each row, and one for the whole."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._rows: dict[str, TaskID] = {}
        self._title = ""

    def row(self, title: str, done: int, total: int, unit: str, *, speed: float | None = None) -> None:  # noqa: ARG002
        if title != self._title:
            self.complete()
            self._title = title
        self._update(title, done, total or None, f"{done}/{total} {unit}" if total else "")

    def whole(self, fraction: float, remaining_seconds: float | None) -> None:
        self._update("[bold]The whole job", fraction, 1.0, f"{fraction:.0%}", remaining_seconds)

    def complete(self) -> None:
        """The row that was shown last is done."""
        if self._title:
            self._update(self._title, 1, 1, "done")

    def _update(
        self, title: str, done: float, total: float | None, state: str, remaining_seconds: float | None = None
    ) -> None:
        if title not in self._rows:
            self._rows[title] = self._bars.add_task(title, total=None, state="", remaining_seconds=None)
        row = self._rows[title]
        self._bars.update(row, completed=done, total=total, state=state, remaining_seconds=remaining_seconds)


class _Lines:
    """A line when a row begins or is complete, and every few seconds in between."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start = time.monotonic()
        self._shown: tuple[str, bool] = ("", False)
        self._printed_at = 0.0
        self._whole = ""

    def row(self, title: str, done: int, total: int, unit: str, *, speed: float | None = None) -> None:
        now, shown = time.monotonic(), (title, 0 < total == done)
        if shown != self._shown or now - self._printed_at >= _SECONDS_BETWEEN_LINES:
            self._print(now, title, _amount(done, total, unit, speed))
        self._shown = shown

    def whole(self, fraction: float, remaining_seconds: float | None) -> None:
        left = "" if remaining_seconds is None else f", {format_seconds(remaining_seconds)} left"
        self._whole = f"job {fraction:.0%}{left}"

    def _print(self, now: float, title: str, amount: str) -> None:
        parts = [part for part in (f"{title:26}", amount, self._whole) if part]
        line = f"{format_seconds(now - self._start):>6}  {'  |  '.join(parts)}"
        self._console.print(line.rstrip(), markup=False, highlight=False, soft_wrap=True)
        self._printed_at = now


def _amount(done: int, total: int, unit: str, speed: float | None) -> str:
    """`1200/4000 steps, 31.4 steps/s, 1:29 left`"""
    if not total:
        return ""
    amount = f"{done}/{total} {unit}"
    if not speed or done >= total:
        return amount
    return f"{amount}, {speed:.1f} {unit}/s, {format_seconds((total - done) / speed)} left"


def format_seconds(seconds: float) -> str:
    """`0:07`, `12:34` or `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
