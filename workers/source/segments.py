"""Where a video is cut into segments: at scene changes where they are near, else evenly, never with a stub at the end.

A pure function of frame times and scene changes, so that all rungs of a ladder are cut alike. VVC alone is cut
otherwise, since its encoder puts key frames at one distance only: its rungs are alike among themselves.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from workers.source.scene_changes import FrameNumbers
from workers.source.timeline import Ticks

_LARGEST_DEVIATION = Fraction(3, 10)
"""Of the wanted length, that a segment may be shorter or longer to end at a scene change."""
_SHORTEST_END = Fraction(1, 2)
"""Of the wanted length: the last segment is no shorter."""


def plan_segments(
    ticks: Ticks, *, tick_seconds: Fraction, scene_changes: FrameNumbers, segment_seconds: float
) -> tuple[int, ...]:
    """The first frame of each segment.

    Args:
        ticks: (frames,) time of each frame, increasing strictly.
        scene_changes: numbers of the frames at which scenes begin, ascending.
    """
    wanted = max(1, round(Fraction(segment_seconds) / tick_seconds))
    end = _end_tick(ticks)
    starts = [0]
    while (rest := end - int(ticks[starts[-1]])) > wanted * (1 + _SHORTEST_END):
        begin = int(ticks[starts[-1]])
        change = _change_near(ticks, scene_changes, begin=begin, wanted=wanted, end=end)
        # What is left is shared out evenly, so that the last piece is no stub.
        following = _frame_near(ticks, begin + rest // round(Fraction(rest, wanted))) if change is None else change
        following = max(following, starts[-1] + 1)
        if following >= len(ticks):
            break
        starts.append(following)
    return tuple(starts)


def plan_even_segments(ticks: Ticks, *, tick_seconds: Fraction, segment_seconds: float) -> tuple[int, ...]:
    """The same for encoders that set key frames at one distance in frames alone."""
    frame_count = len(ticks)
    segment_count = max(1, round((_end_tick(ticks) - int(ticks[0])) * tick_seconds / Fraction(segment_seconds)))
    ideal = -(-frame_count // segment_count)
    # One frame a segment always fits, so that the search ends.
    nearest_first = (length for off in range(frame_count) for length in (ideal + off, ideal - off))
    length = next(each for each in nearest_first if each >= 1 and 2 * _last_length(frame_count, each) >= each)
    return tuple(range(0, frame_count, length))


def _last_length(frame_count: int, length: int) -> int:
    return frame_count - length * (-(-frame_count // length) - 1)


def _end_tick(ticks: Ticks) -> int:
    """When the last frame ends, if it is shown as long as the frames before it are on average."""
    span = int(ticks[-1] - ticks[0])
    return int(ticks[-1]) + (span // (len(ticks) - 1) if len(ticks) > 1 else 1)


def _change_near(ticks: Ticks, scene_changes: FrameNumbers, *, begin: int, wanted: int, end: int) -> int | None:
    """The scene change that is nearest to the wanted end of a segment; None where none is near enough."""
    earliest = begin + wanted * (1 - _LARGEST_DEVIATION)
    latest = min(begin + wanted * (1 + _LARGEST_DEVIATION), end - wanted * _SHORTEST_END)
    times = ticks[scene_changes]
    first, last = np.searchsorted(times, float(earliest), "left"), np.searchsorted(times, float(latest), "right")
    if first >= last:
        return None
    place = first + int(np.argmin(np.abs(times[first:last] - (begin + wanted))))
    return int(scene_changes[place])


def _frame_near(ticks: Ticks, tick: int) -> int:
    """The frame whose time is nearest."""
    after = int(np.searchsorted(ticks, tick))
    if after == 0 or (after < len(ticks) and ticks[after] - tick <= tick - ticks[after - 1]):
        return after
    return after - 1
