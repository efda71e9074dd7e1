"""How many patches a video may have: checked before anything is encoded."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from stdo.bundle.geometry import FrameLayout
from stdo.bundle.segments import SEGMENT_MAX_NUMBERS
from workers.errors import TooManyPatchesError

MOST_PATCHES = 200_000_000
"""Of all frames together. An error takes 4 bytes, which groups that are exact over the whole video can't do without;
its group and its network number take one byte each."""


def check_patch_count(layout: FrameLayout, segment_starts: Sequence[int]) -> None:
    """Refuse what would not fit into memory, here or with a client, before hours are spent on it.

    Args:
        layout: with a patch grid.
        segment_starts: the first frame of each segment.

    Raises:
        TooManyPatchesError
    """
    grid, frame_count = layout.grid, layout.picture.frame_count
    assert grid is not None
    longest = max(end - start for start, end in pairwise([*segment_starts, frame_count]))
    for count, most, what in (
        (frame_count * grid.patch_count, MOST_PATCHES, "all frames of this video, and this service"),
        (longest * grid.patch_count, SEGMENT_MAX_NUMBERS, "its longest segment, and a bundle"),
    ):
        if count > most:
            raise TooManyPatchesError(
                f"Patches of {grid.patch_width}x{grid.patch_height} pixels make {count} in {what} takes at most "
                f"{most}. Ask for larger patches (patches.width, patches.height), or cut the video into parts."
            )
