"""Which way up a picture is: the display matrix of phone video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from stdo.bundle.manifest import Normalisation
from workers.ffmpeg.program import VideoFilter

Rotation = Literal[0, 90, 180, 270]
_Directions = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """How a decoded frame is turned before it is shown."""

    rotation_degrees: Rotation
    """Clockwise, after mirroring."""
    swaps_sides: bool
    filters: tuple[VideoFilter, ...]
    note: Normalisation | None


_UPRIGHT: _Directions = (1, 0, 0, 1)

# a, b, c, d in units: (x, y) of the decoded frame goes to (a x + c y, b x + d y), y pointing down.
_TURNS: Mapping[_Directions, tuple[Rotation, bool, tuple[tuple[str, dict[str, str]], ...]]] = {
    _UPRIGHT: (0, False, ()),
    (0, 1, -1, 0): (90, False, (("transpose", {"dir": "clock"}),)),
    (-1, 0, 0, -1): (180, False, (("hflip", {}), ("vflip", {}))),
    (0, -1, 1, 0): (270, False, (("transpose", {"dir": "cclock"}),)),
    (-1, 0, 0, 1): (0, True, (("hflip", {}),)),
    (0, -1, -1, 0): (90, True, (("transpose", {"dir": "clock_flip"}),)),
    (1, 0, 0, -1): (180, True, (("vflip", {}),)),
    (0, 1, 1, 0): (270, True, (("transpose", {"dir": "cclock_flip"}),)),
}


def read_orientation(display_matrix: tuple[int, int, int, int] | None) -> Orientation:
    """What a display matrix (a, b, c, d) asks for. Angles between the quarter turns are ignored, as players do."""
    if display_matrix is None or (directions := _directions(display_matrix)) == _UPRIGHT:
        return Orientation(rotation_degrees=0, swaps_sides=False, filters=(), note=None)
    if directions not in _TURNS:
        note = Normalisation(
            code="rotation_ignored",
            detail="The file asks for a turn that is no multiple of 90 degrees; it was not turned.",
        )
        return Orientation(rotation_degrees=0, swaps_sides=False, filters=(), note=note)
    rotation, is_mirrored, filters = _TURNS[directions]
    mirrored = "mirrored, then " if is_mirrored else ""
    return Orientation(
        rotation_degrees=rotation,
        swaps_sides=rotation in (90, 270),
        filters=tuple(VideoFilter(name=name, options=options) for name, options in filters),
        note=Normalisation(
            code="rotation_applied", detail=f"The picture was {mirrored}turned by {rotation} degrees clockwise."
        ),
    )


def _directions(display_matrix: tuple[int, int, int, int]) -> _Directions:
    """The matrix without its scale, rounded."""
    a, b, c, d = display_matrix
    largest = max(map(abs, display_matrix)) or 1
    return round(a / largest), round(b / largest), round(c / largest), round(d / largest)
