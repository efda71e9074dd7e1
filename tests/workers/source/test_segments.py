from __future__ import annotations

from fractions import Fraction
from time import perf_counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.source.segments import plan_even_segments, plan_segments

MILLISECOND = Fraction(1, 1000)
NO_CHANGES = np.array([], np.int64)


def planned(frame_count: int, seconds: float, changes: tuple[int, ...] = (), *, frame_ticks: int = 40) -> list[int]:
    """Of a video with a constant rate (25 frames a second)."""
    ticks = np.arange(frame_count, dtype=np.int64) * frame_ticks
    found = plan_segments(
        ticks, tick_seconds=MILLISECOND, scene_changes=np.array(changes, np.int64), segment_seconds=seconds
    )
    return list(found)


def test_without_scene_changes_segments_are_even() -> None:
    assert planned(500, 5) == [0, 125, 250, 375]


def test_what_is_left_is_shared_out_so_that_no_stub_is_left() -> None:
    assert planned(132, 5) == [0]
    assert planned(260, 5) == [0, 130]


def test_a_scene_change_that_is_near_begins_a_segment() -> None:
    assert planned(500, 5, (110, 260))[:3] == [0, 110, 260]


@pytest.mark.parametrize("change", [80, 170])
def test_a_scene_change_that_is_far_does_not(change: int) -> None:
    assert change not in planned(500, 5, (change,))


def test_of_two_scene_changes_the_nearer_one_begins_a_segment() -> None:
    assert planned(500, 5, (100, 120, 155))[1] == 120


def test_a_scene_change_near_the_end_makes_no_stub() -> None:
    assert planned(200, 5, (150,)) == [0, 100]


@pytest.mark.parametrize("frame_count", [1, 2, 60, 125])
def test_a_short_video_is_one_segment(frame_count: int) -> None:
    assert planned(frame_count, 5) == [0]


def test_a_segment_counts_seconds_and_not_frames() -> None:
    """Ten seconds at 25 frames a second, then ten at 5."""
    ticks = np.concatenate([np.arange(250) * 40, 10_000 + np.arange(50) * 200]).astype(np.int64)
    found = plan_segments(ticks, tick_seconds=MILLISECOND, scene_changes=NO_CHANGES, segment_seconds=5)
    # To the nearest frame.
    assert ticks[list(found)].tolist() == pytest.approx([0, 5000, 10_000, 15_000], abs=200)


@given(
    frame_count=st.integers(1, 3000),
    seconds=st.floats(0.5, 30),
    frame_ticks=st.integers(1, 200),
    changes=st.sets(st.integers(1, 2999), max_size=60),
)
def test_constant_rates(frame_count: int, seconds: float, frame_ticks: int, changes: set[int]) -> None:
    near = tuple(sorted(change for change in changes if change < frame_count))
    starts = planned(frame_count, seconds, near, frame_ticks=frame_ticks)
    assert starts[0] == 0
    lengths = np.diff([*starts, frame_count]) * frame_ticks
    assert lengths.min() > 0
    if len(starts) > 1:
        wanted = seconds * 1000
        assert lengths[-1] >= 0.5 * wanted - frame_ticks
        assert lengths.max() <= 1.5 * wanted + 2 * frame_ticks
        assert lengths[:-1].min() >= 0.7 * wanted - 2 * frame_ticks


@given(st.lists(st.integers(1, 20_000), min_size=1, max_size=300), st.floats(0.5, 10))
def test_any_times_give_ascending_starts(steps: list[int], seconds: float) -> None:
    ticks = np.concatenate([[0], np.cumsum(steps)]).astype(np.int64)
    starts = plan_segments(ticks, tick_seconds=MILLISECOND, scene_changes=NO_CHANGES, segment_seconds=seconds)
    assert starts[0] == 0
    assert list(starts) == sorted(set(starts))
    assert starts[-1] < len(ticks)


@given(st.integers(1, 5000), st.floats(0.5, 30))
def test_even_segments_have_one_length_and_no_stub(frame_count: int, seconds: float) -> None:
    ticks = np.arange(frame_count, dtype=np.int64) * 40
    starts = plan_even_segments(ticks, tick_seconds=MILLISECOND, segment_seconds=seconds)
    lengths = np.diff([*starts, frame_count])
    assert starts[0] == 0
    assert len(set(lengths[:-1].tolist())) <= 1
    assert 2 * lengths[-1] >= lengths[0]


def test_four_hours_are_planned_at_once() -> None:
    ticks = np.arange(864_000, dtype=np.int64)
    before = perf_counter()
    for plan in (
        plan_even_segments(ticks, tick_seconds=Fraction(1, 60), segment_seconds=5),
        plan_segments(ticks, tick_seconds=Fraction(1, 60), scene_changes=NO_CHANGES, segment_seconds=5),
    ):
        assert len(plan) == 2880
    assert perf_counter() - before < 2
