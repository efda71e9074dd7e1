from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from workers.source.timeline import ReadTimes, Timeline, make_timeline


def timeline(
    ticks: list[int] | None, *, tick: str = "1/1000", frame_count: int | None = None, **changes: Any
) -> Timeline:
    values: dict[str, Any] = {
        "ticks": None if ticks is None else np.array(ticks, np.int64),
        "tick_seconds": Fraction(tick),
        "start_seconds": Fraction(0),
        "declared_rates": (Fraction(25),),
        "last_frame_ticks": None,
        "may_be_spliced": False,
    }
    count = frame_count if ticks is None else len(ticks)
    assert count is not None
    return make_timeline(ReadTimes(**(values | changes)), count)


def test_regular_times_are_kept() -> None:
    found = timeline([0, 40, 80, 120])
    assert found.repair == "none"
    assert list(found.ticks) == [0, 40, 80, 120]
    assert not found.variable_frame_rate
    assert found.average_frame_rate == 25
    assert found.duration_seconds == Fraction(16, 100)


def test_rounding_to_milliseconds_is_not_a_variable_rate() -> None:
    rate = Fraction(24000, 1001)
    found = timeline([round(n * 1000 / rate) for n in range(100)], declared_rates=(rate,))
    assert not found.variable_frame_rate
    assert found.average_frame_rate == rate


@pytest.mark.parametrize(
    ("declared", "meant"),
    [("19001/317", "60000/1001"), ("30000/1001", "30000/1001"), ("2999/100", "2999/100"), ("24.0001", "24")],
)
def test_a_rounded_rate_is_taken_for_what_it_must_mean(declared: str, meant: str) -> None:
    rate = Fraction(declared)
    found = timeline([round(n * 90000 / rate) for n in range(10)], tick="1/90000", declared_rates=(rate,))
    assert found.average_frame_rate == Fraction(meant)


def test_a_wrong_claim_does_not_make_the_rate_variable() -> None:
    found = timeline([0, 20, 40, 60, 80], declared_rates=(Fraction(25),))
    assert (found.variable_frame_rate, found.average_frame_rate) == (False, 50)


def test_an_uneven_rate_is_variable_and_averaged() -> None:
    found = timeline([0, 40, 80, 200, 240], last_frame_ticks=60)
    assert found.variable_frame_rate
    assert found.average_frame_rate == Fraction(4000, 240)
    assert found.duration_seconds == Fraction(300, 1000)


def test_a_single_frame_lasts_as_long_as_its_rate_says() -> None:
    assert timeline([7]).duration_seconds == Fraction(1, 25)
    assert timeline([7], declared_rates=(), last_frame_ticks=100).duration_seconds == Fraction(1, 10)


def test_time_counts_from_the_start_of_the_file() -> None:
    assert list(timeline([1400, 1440], start_seconds=Fraction("1.4")).ticks) == [0, 40]
    assert list(timeline([1400, 1440], start_seconds=Fraction("1.25")).ticks) == [150, 190]


def test_no_time_is_negative() -> None:
    assert list(timeline([1399, 1439], start_seconds=Fraction("1.4")).ticks) == [0, 40]


def test_frames_that_stand_still_move_on_by_a_tick() -> None:
    found = timeline([0, 40, 40, 35, 160])
    assert found.repair == "nudged"
    assert list(found.ticks) == [0, 40, 41, 42, 160]


def test_frames_that_step_back_far_are_spread_anew() -> None:
    found = timeline([0, 400, 800, 0, 400, 800])
    assert found.repair == "rebuilt"
    assert [int(tick) * found.tick_seconds for tick in found.ticks] == [Fraction(n, 25) for n in range(6)]
    assert found.duration_seconds == Fraction(6, 25)


def test_missing_times_are_made_up_from_the_rate() -> None:
    found = timeline(None, frame_count=3, declared_rates=())
    assert found.repair == "rebuilt"
    assert [int(tick) * found.tick_seconds for tick in found.ticks] == [0, Fraction(1, 25), Fraction(2, 25)]


def test_a_rate_that_can_t_be_meant_is_not_used() -> None:
    assert timeline(None, frame_count=3, declared_rates=(Fraction(90000), Fraction(30))).average_frame_rate == 30
    assert timeline([0], declared_rates=(Fraction(90000),)).average_frame_rate == 25


def test_a_pause_is_a_splice_in_a_broadcast_only() -> None:
    ticks = [0, 40, 20_000, 20_040]
    assert timeline(ticks).repair == "none"
    assert timeline(ticks, may_be_spliced=True).repair == "rebuilt"
