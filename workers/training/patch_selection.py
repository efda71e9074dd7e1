"""Which patches of the video a training sees, within its memory budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PatchNumbers = npt.NDArray[np.int64]
"""Flat numbers of patches in the video, frame * (rows * columns) + patch, ascending."""

_BLOCK = 1 << 20
"""Patches looked at together: what they need besides their result stays small."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PatchSelection:
    """The patches that a training sees."""

    numbers: PatchNumbers
    groups: npt.NDArray[np.uint8]
    """(N,): the group of each"""


def fair_shares(wanted: Sequence[int], room: int) -> list[int]:
    """How much of `room` each gets: at least one, and as much as any other, or all that it wants."""
    shares = [0] * len(wanted)
    left = max(room, len(wanted))
    # Whoever wants little is served first, and leaves the rest of its share to the others.
    for served, place in enumerate(sorted(range(len(wanted)), key=lambda place: wanted[place])):
        shares[place] = min(wanted[place], left // (len(wanted) - served))
        left -= shares[place]
    return shares


def even_sample(is_member: npt.NDArray[np.bool_], room: int) -> PatchNumbers:
    """The members' numbers: all of them, or `room` of them at even distances.

    Args:
        is_member: (patches of the video,) bool
    """
    count = int(np.count_nonzero(is_member))
    size = min(count, room)
    ranks = np.arange(size) * count // max(size, 1)
    numbers = np.empty(size, dtype=np.int64)
    seen = 0
    for start in range(0, len(is_member), _BLOCK):
        members = np.flatnonzero(is_member[start : start + _BLOCK])
        first, last = np.searchsorted(ranks, (seen, seen + len(members)))
        numbers[first:last] = start + members[ranks[first:last] - seen]
        seen += len(members)
    return numbers
