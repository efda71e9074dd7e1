"""What a network reads and writes: the three RGB channels, or the luma plane alone."""

from typing import Literal

Channels = Literal["rgb", "luma"]

_COUNT: dict[Channels, int] = {"rgb": 3, "luma": 1}


def channel_count(channels: Channels) -> int:
    """Number of planes (3 for "rgb", 1 for "luma")."""
    return _COUNT[channels]
