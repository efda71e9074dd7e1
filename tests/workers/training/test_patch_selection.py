from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.training import patch_selection
from workers.training.patch_selection import even_sample, fair_shares


@pytest.mark.parametrize(
    ("wanted", "room", "shares"),
    [
        ([5, 5, 5], 100, [5, 5, 5]),
        ([5, 5, 5], 9, [3, 3, 3]),
        ([10, 2, 10], 12, [5, 2, 5]),
        ([1, 100, 20], 60, [1, 39, 20]),
        ([4, 4, 4], 1, [1, 1, 1]),
    ],
)
def test_each_gets_the_same_or_all_it_wants(wanted: list[int], room: int, shares: list[int]) -> None:
    assert fair_shares(wanted, room) == shares


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.integers(6, 200))
def test_the_room_is_used_and_not_exceeded(wanted: list[int], room: int) -> None:
    shares = fair_shares(wanted, room)
    assert sum(shares) == min(room, sum(wanted))
    assert all(share <= want for share, want in zip(shares, wanted, strict=True))
    # Whoever gets less than it wants gets as much as anybody, but for what doesn't divide.
    short = [share for share, want in zip(shares, wanted, strict=True) if share < want]
    assert all(share >= max(shares) - 1 for share in short)


@pytest.mark.parametrize("block", [7, 64, 1 << 20])
@pytest.mark.parametrize("room", [1, 16, 333, 10_000])
def test_a_sample_is_even_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch, room: int, block: int) -> None:
    monkeypatch.setattr(patch_selection, "_BLOCK", block)
    is_member = np.random.default_rng(0).random(1000) < 0.4
    members = np.flatnonzero(is_member)
    size = min(room, len(members))
    expected = members[np.arange(size) * len(members) // size]
    assert even_sample(is_member, room).tolist() == expected.tolist()


def test_nobody_to_sample_gives_nothing() -> None:
    assert even_sample(np.zeros(5, np.bool_), 3).tolist() == []
