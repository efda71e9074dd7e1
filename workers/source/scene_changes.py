"""Where a video cuts from one scene to another, found while it is decoded: segments begin there where they can."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import av
import numpy as np
import numpy.typing as npt

FrameNumbers = npt.NDArray[np.int64]
Differences = npt.NDArray[np.float32]

_SAMPLE_COLUMNS, _SAMPLE_ROWS = 64, 36
"""Samples of a frame that are compared: enough to tell scenes apart, and a thousandth of the work of decoding."""
_NEIGHBOURS = 8
"""Frames before and after a cut that it is compared with: motion changes all of them, a cut only one."""
_LEAST_DIFFERENCE = 6.0
"""Mean difference of 8-bit samples below which nothing is a cut."""
_LEAST_RATIO = 3.0
"""How far a cut stands out from its neighbours."""
_LEAST_LASTING_SHARE = 0.5
"""Across a cut the frames stay different: if one frame more is skipped, on either side, at least this share of the
difference is left. Around a flash the frames are alike, and nearly nothing is left."""


@dataclass(kw_only=True)
class SceneMeter:
    """Compares each frame with the two before it: eight bytes a frame."""

    to_previous: array[float] = field(default_factory=lambda: array("f"))
    """Mean absolute difference of 8-bit samples from the frame before; 0 for the first."""
    to_last_but_one: array[float] = field(default_factory=lambda: array("f"))
    _samples: list[npt.NDArray[np.float32]] = field(default_factory=list)

    def add(self, frame: av.VideoFrame) -> None:
        """Look at the next frame. All frames have one size and format."""
        samples = _samples(frame)
        self.to_previous.append(_difference(samples, self._samples[-1:]))
        self.to_last_but_one.append(_difference(samples, self._samples[-2:-1]))
        self._samples = [*self._samples[-1:], samples]

    def changes(self) -> FrameNumbers:
        """The first frames of new scenes, ascending."""
        return find_changes(np.asarray(self.to_previous, np.float32), np.asarray(self.to_last_but_one, np.float32))


def find_changes(to_previous: Differences, to_last_but_one: Differences) -> FrameNumbers:
    """The frames at which a scene begins: they differ far more from the frame before than their neighbours do, and the
    difference lasts.

    Args:
        to_previous, to_last_but_one: (frames,) mean absolute difference of each frame from the one, and two, before it.
    """
    candidates = map(int, np.flatnonzero(to_previous >= _LEAST_DIFFERENCE))
    return np.array([frame for frame in candidates if _is_change(frame, to_previous, to_last_but_one)], np.int64)


def _is_change(frame: int, to_previous: Differences, to_last_but_one: Differences) -> bool:
    around = np.concatenate(
        [to_previous[max(1, frame - _NEIGHBOURS) : frame], to_previous[frame + 1 : frame + 1 + _NEIGHBOURS]]
    )
    usual = float(np.median(around)) if around.size else 0.0
    difference = float(to_previous[frame])
    # A flash is no cut where it comes (the next frame is like the last one), nor where it goes (this one is).
    lasting = min((float(each) for each in to_last_but_one[max(2, frame) : frame + 2]), default=difference)
    return difference >= _LEAST_RATIO * usual and lasting >= _LEAST_LASTING_SHARE * difference


def _samples(frame: av.VideoFrame) -> npt.NDArray[np.float32]:
    """Some samples of the first plane (luma, or packed colours), evenly spread, in units of 8 bits."""
    if frame.planes[0].line_size < 0:
        # The rows of an uncompressed AVI lie in memory from the bottom to the top, where a view of the plane has no way
        # to reach them.
        frame = frame.reformat(format="gray")
    plane = frame.planes[0]
    component = frame.format.components[0]
    kind = np.dtype("<u2") if component.bits > 8 else np.dtype(np.uint8)
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    samples = rows[:, : plane.line_size // kind.itemsize * kind.itemsize].view(kind)[:, : plane.width]
    row_distance, column_distance = max(1, plane.height // _SAMPLE_ROWS), max(1, plane.width // _SAMPLE_COLUMNS)
    chosen = samples[row_distance // 2 :: row_distance, column_distance // 2 :: column_distance]
    scaled: npt.NDArray[np.float32] = chosen.astype(np.float32) / np.float32(1 << max(0, component.bits - 8))
    return scaled


def _difference(samples: npt.NDArray[np.float32], earlier: list[npt.NDArray[np.float32]]) -> float:
    return float(np.abs(samples - earlier[0]).mean()) if earlier else 0.0
