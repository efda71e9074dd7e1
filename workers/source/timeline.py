"""When each frame is shown: the source's timestamps, checked, repaired where they can't be used, and summed up."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt

from workers.ffmpeg.program import VideoFilter

Ticks = npt.NDArray[np.int64]

FALLBACK_FRAME_RATE = Fraction(25)
"""Where a file has a single frame, or no usable timestamp, and states no rate."""

_HIGHEST_FRAME_RATE = 300
"""Headers of files with a variable rate often state the clock's."""

LARGEST_NUDGE_SECONDS = Fraction(1, 10)
"""A frame that had to move by more would be seen to come at the wrong time."""

LARGEST_BROADCAST_GAP_SECONDS = 10
"""A longer time between two frames of an MPEG transport stream is a splice and not a pause; ffmpeg reads it so, too."""

_RATE_ROUNDING = Fraction(1, 10_000)
"""Containers that store a frame's duration, not a rate, are off by less; 30 and 30000/1001 differ by ten times that."""

_JITTER_SECONDS = Fraction(1, 1000)
"""Rounding of timestamps, to the milliseconds of Matroska at worst, does not make a frame rate variable."""


@dataclass(frozen=True, kw_only=True)
class ReadTimes:
    """Timestamps as a decoder gave them."""

    ticks: Ticks | None
    """(frames,) in decoding output order; None where a frame had no timestamp."""
    tick_seconds: Fraction
    start_seconds: Fraction
    """Where the file's first stream starts: time 0 of what is delivered."""
    declared_rates: tuple[Fraction, ...]
    """Frame rates that the file's headers claim, the best guess first."""
    last_frame_ticks: int | None
    """How long the last frame lasts, where the file says so."""
    may_be_spliced: bool


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Strictly increasing frame times."""

    ticks: Ticks
    """(frames,), time 0 being the start of the whole file."""
    tick_seconds: Fraction
    average_frame_rate: Fraction
    variable_frame_rate: bool
    duration_seconds: Fraction
    """From the first frame to the end of the last."""
    repair: Literal["none", "nudged", "rebuilt"]

    def filters(self) -> list[VideoFilter]:
        """The FFmpeg filters that give decoded frames these times."""
        first = int(self.ticks[0])
        if self.repair == "rebuilt":
            return [
                VideoFilter(name="settb", options={"expr": str(self.tick_seconds)}),
                VideoFilter(name="setpts", options={"expr": f"N+{first}"}),
            ]
        if self.repair == "nudged":
            expression = f"if(isnan(PREV_OUTPTS),{first},max(PTS-STARTPTS+{first},PREV_OUTPTS+1))"
            return [VideoFilter(name="setpts", options={"expr": expression})]
        return [VideoFilter(name="setpts", options={"expr": f"PTS-STARTPTS+{first}"})]


def make_timeline(read: ReadTimes, frame_count: int) -> Timeline:
    """Times that start at or after 0 and strictly increase.

    Timestamps that stand still or step back a little are moved on by a tick ("nudged"); where that does not do, or
    some are missing, the frames are spread evenly at the rate that the file claims ("rebuilt").
    """
    if read.ticks is not None:
        offset = max(0, round((int(read.ticks[0]) * read.tick_seconds - read.start_seconds) / read.tick_seconds))
        wanted = read.ticks - read.ticks[0] + offset
        nudged = _strictly_increasing(wanted)
        if _is_usable(wanted, nudged, read):
            repair: Literal["none", "nudged"] = "none" if np.array_equal(wanted, nudged) else "nudged"
            return _summed_up(nudged, read, repair=repair)
    return _rebuilt(read, frame_count)


def _strictly_increasing(ticks: Ticks) -> Ticks:
    """The least change that puts every frame at least a tick after the one before."""
    frame_numbers = np.arange(ticks.size)
    increasing: Ticks = np.maximum.accumulate(ticks - frame_numbers) + frame_numbers
    return increasing


def _is_usable(wanted: Ticks, nudged: Ticks, read: ReadTimes) -> bool:
    if int(np.abs(nudged - wanted).max()) * read.tick_seconds > LARGEST_NUDGE_SECONDS:
        return False
    longest_gap = int(np.diff(wanted).max(initial=0)) * read.tick_seconds
    return not (read.may_be_spliced and longest_gap > LARGEST_BROADCAST_GAP_SECONDS)


def _rebuilt(read: ReadTimes, frame_count: int) -> Timeline:
    rate = _stated_rate(read)
    return Timeline(
        ticks=np.arange(frame_count, dtype=np.int64),
        tick_seconds=1 / rate,
        average_frame_rate=rate,
        variable_frame_rate=False,
        duration_seconds=frame_count / rate,
        repair="rebuilt",
    )


def _summed_up(ticks: Ticks, read: ReadTimes, *, repair: Literal["none", "nudged"]) -> Timeline:
    span_seconds = int(ticks[-1] - ticks[0]) * read.tick_seconds
    constant_rate = _constant_rate(ticks, read)
    if constant_rate is not None:
        average_rate = constant_rate
    else:
        average_rate = ((ticks.size - 1) / span_seconds).limit_denominator(100_000)
    last_seconds = read.last_frame_ticks * read.tick_seconds if read.last_frame_ticks else 1 / average_rate
    return Timeline(
        ticks=ticks,
        tick_seconds=read.tick_seconds,
        average_frame_rate=average_rate,
        variable_frame_rate=constant_rate is None,
        duration_seconds=span_seconds + last_seconds,
        repair=repair,
    )


def _constant_rate(ticks: Ticks, read: ReadTimes) -> Fraction | None:
    """The rate at which every frame comes when it should, but for the rounding of timestamps."""
    span = int(ticks[-1] - ticks[0])
    if not span:
        return _stated_rate(read)
    mean_rate = ((ticks.size - 1) / (span * read.tick_seconds)).limit_denominator(1001)
    candidates = [_snapped(rate) for rate in (*read.declared_rates, mean_rate) if rate > 0]
    tolerance = max(read.tick_seconds, _JITTER_SECONDS) / read.tick_seconds
    for rate in candidates:
        even = np.arange(ticks.size) * float(1 / (rate * read.tick_seconds))
        if np.abs(ticks - ticks[0] - even).max() <= float(tolerance):
            return rate
    return None


def _stated_rate(read: ReadTimes) -> Fraction:
    """The first rate in the headers that can be meant."""
    plausible = (rate for rate in read.declared_rates if 1 <= rate <= _HIGHEST_FRAME_RATE)
    return _snapped(next(plausible, FALLBACK_FRAME_RATE))


def _snapped(rate: Fraction) -> Fraction:
    """The whole number of frames a second, or that of NTSC (60000/1001), that a rounded rate must mean."""
    for exact in (Fraction(round(rate)), Fraction(round(rate * Fraction(1001, 1000)) * 1000, 1001)):
        if abs(exact - rate) < rate * _RATE_ROUNDING:
            return exact
    return rate
