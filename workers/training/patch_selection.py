"""Which patches of the video a training sees, within its memory budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

PatchNumbers = npt.NDArray[np.int64]
"""Flat numbers of patches in the video, frame * (rows * columns) + patch, ascending."""

_Number = TypeVar("_Number", bound=np.generic)
_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class PatchSelection:
    """The patches that a training sees."""

    numbers: PatchNumbers
    groups: npt.NDArray[np.uint8]
    """(N,): the group of each"""


def in_blocks(patches: npt.NDArray[_Number]) -> Iterator[npt.NDArray[_Number]]:
    """Views of an array over all patches of a video, a million patches each.

    What is computed for one block at a time needs little memory besides its result.
    """
    return (patches[start : start + _BLOCK] for start in range(0, len(patches), _BLOCK))


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
    start = seen = 0
    for block in in_blocks(is_member):
        members = np.flatnonzero(block)
        first, last = np.searchsorted(ranks, (seen, seen + len(members)))
        numbers[first:last] = start + members[ranks[first:last] - seen]
        start, seen = start + len(block), seen + len(members)
    return numbers
