"""Progress on a screen: bars with the time left in a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from stdo.service.download import TransferProgress
from stdo.service.resources import Job, JobEvent, Stage

STAGE_TITLES: Mapping[Stage, str] = {
    "probe": "Probe the source",
    "base_stream": "Encode the low resolution",
    "score": "Score the patches with f0",
    "groups": "Group the patches",
    "train": "Train the networks",
    "export": "Export the networks",
    "evaluate": "Measure the quality",
    "publish": "Publish the bundle",
}
_SECONDS_BETWEEN_LINES = 5.0


class ProgressDisplay(Protocol):
    """Shows how far some work is that has several steps, one after another."""

    def step(self, title: str, done: int, total: int, unit: str, *, speed: float | None = None) -> None:
        """A step has come so far. `speed` is in units per second; by default it is measured.

        A new title begins the next step and completes the one before. A total of 0 is one that isn't known yet.
        """
        ...

    def whole(self, fraction: float, remaining_seconds: float | None) -> None:
        """How far all of it is, 0 to 1. Shown with the steps."""
        ...


@contextmanager
def progress_display(console: Console) -> Iterator[ProgressDisplay]:
    """Progress as it suits the console."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[state]}"))
    with Progress(*columns, console=console) as bars:
        display = _Bars(bars)
        yield display
        display.complete()


def show_job(display: ProgressDisplay, report: Job | JobEvent) -> None:
    """One report of `Client.iterate_progress`."""
    display.whole(report.progress, report.eta_seconds)
    if report.stage is None:
        display.step("Wait for a worker", 0, 0, "")
    elif (progress := report.stage_progress) is None:
        display.step(STAGE_TITLES[report.stage], 0, 0, "")
    else:
        title = STAGE_TITLES[report.stage]
        display.step(title, progress.done, progress.total, progress.unit, speed=report.speed)


def show_transfer(display: ProgressDisplay, title: str) -> TransferProgress:
    """A callback for `Client.upload`, `encode` or `fetch` that shows its bytes as kB."""
    return lambda done, total: display.step(title, done // 1000, max(total // 1000, 1), "kB")


class _Step:
    """What a step looks like at this moment."""

    def __init__(self, title: str, unit: str, clock: float) -> None:
        self.title = title
        self.unit = unit
        self.done = 0
        self.total = 0
        self.speed: float | None = None
        self._start = clock
        self._first_done: int | None = None

    def update(self, done: int, total: int, speed: float | None, clock: float) -> None:
        if self._first_done is None:
            self._first_done = done
        elapsed = clock - self._start
        measured = (done - self._first_done) / elapsed if elapsed > 0 and done > self._first_done else None
        self.done, self.total, self.speed = done, total, measured if speed is None else speed

    def seconds(self, clock: float) -> float:
        return clock - self._start

    def __str__(self) -> str:
        """`1200/4000 steps, 31.4 steps/s, 1:29 left`"""
        if not self.total:
            return ""
        parts = [f"{self.done}/{self.total} {self.unit}"]
        if self.speed and self.done < self.total:
            rate = f"{self.speed:.1f}" if self.speed < 100 else f"{self.speed:.0f}"
            parts += [f"{rate} {self.unit}/s", f"{format_seconds((self.total - self.done) / self.speed)} left"]
        return ", ".join(parts)


class _Bars:
    """One bar for each step, and one for the whole."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._whole: TaskID | None = None
        self._task: TaskID | None = None
        self._step: _Step | None = None

    def step(self, title: str, done: int, total: int, unit: str, *, speed: float | None = None) -> None:
        now = time.monotonic()
        if self._step is None or self._step.title != title:
            self.complete()
            self._step = _Step(title, unit, now)
            self._task = self._bars.add_task(title, total=None, state="")
        assert self._task is not None
        self._step.unit = unit
        self._step.update(done, total, speed, now)
        self._bars.update(self._task, completed=done, total=total or None, state=str(self._step))

    def whole(self, fraction: float, remaining_seconds: float | None) -> None:
        if self._whole is None:
            self._whole = self._bars.add_task("[bold]The whole job", total=1.0, state="")
        left = "" if remaining_seconds is None else f", {format_seconds(remaining_seconds)} left"
        self._bars.update(self._whole, completed=fraction, state=f"{fraction:.0%}{left}")

    def complete(self) -> None:
        """The step that was shown last is done."""
        if self._step is None or self._task is None:
            return
        total = self._step.total or 1
        text = f"done in {format_seconds(self._step.seconds(time.monotonic()))}"
        self._bars.update(self._task, completed=total, total=total, state=text)


class _Lines:
    """A line when a step begins or ends, and every few seconds in between."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start = time.monotonic()
        self._step: _Step | None = None
        self._printed_at = 0.0
        self._whole = ""

    def step(self, title: str, done: int, total: int, unit: str, *, speed: float | None = None) -> None:
        now = time.monotonic()
        is_new = self._step is None or self._step.title != title
        if self._step is None or is_new:
            self._step = _Step(title, unit, now)
        was_complete = 0 < self._step.total == self._step.done
        self._step.unit = unit
        self._step.update(done, total, speed, now)
        completes = 0 < total == done and not was_complete
        if is_new or completes or now - self._printed_at >= _SECONDS_BETWEEN_LINES:
            self._print(now)

    def whole(self, fraction: float, remaining_seconds: float | None) -> None:
        left = "" if remaining_seconds is None else f", {format_seconds(remaining_seconds)} left"
        self._whole = f"job {fraction:.0%}{left}"

    def _print(self, now: float) -> None:
        assert self._step is not None
        parts = [part for part in (f"{self._step.title:26}", str(self._step), self._whole) if part]
        line = f"{format_seconds(now - self._start):>6}  {'  |  '.join(parts)}"
        self._console.print(line.rstrip(), markup=False, highlight=False, soft_wrap=True)
        self._printed_at = now


def format_seconds(seconds: float) -> str:
    """`0:07`, `12:34` or `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
