from __future__ import annotations

import pytest

from workers.delivery.measure import frames_to_measure


@pytest.mark.parametrize(
    ("frame_count", "max_frames", "frames"),
    [
        (5, 3000, [0, 1, 2, 3, 4]),
        (5, 5, [0, 1, 2, 3, 4]),
        (5, 2, [0, 2]),
        (10, 4, [0, 2, 5, 7]),
        (7, 1, [0]),
    ],
)
def test_the_measured_frames_are_spread_evenly(frame_count: int, max_frames: int, frames: list[int]) -> None:
    assert frames_to_measure(frame_count, max_frames).tolist() == frames


def test_four_hours_are_covered_to_their_end() -> None:
    frames = frames_to_measure(4 * 3600 * 25, 3000)
    assert len(frames) == 3000
    assert frames[-1] == 4 * 3600 * 25 - 120
