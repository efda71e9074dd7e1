"""The error of each patch of each measured frame: `quality/patch_errors.bin`. For people; no decoder needs it.

For each segment of the video that has measured frames, in order: three numbers (unsigned, 32 bits, little-endian):
the place of its first measured frame among all measured ones, how many it has, and how many bytes follow; then so many
bytes of zlib. They hold a byte a patch a frame: first what f0 makes of the frames, then what is delivered.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stdo.errors import MalformedPatchErrorsError

PATCH_ERRORS_NAME = "quality/patch_errors.bin"
_PER_DECIBEL = 4
_HEAD = struct.Struct("<III")
_HIGHEST = 255
"""63.75 dB: this much, or more."""

QuarterDecibels = npt.NDArray[np.uint8]
"""(frames, rows * columns) uint8: PSNR of each patch, in quarters of a dB, rounded down; 255 from 63.75 dB on"""


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredSegment:
    """The measured frames of one segment."""

    first_measured: int
    """Place of the first of them among all measured frames."""
    f0: QuarterDecibels
    restored: QuarterDecibels


def measured_frame(place: int, *, frame_count: int, frames_measured: int) -> int:
    """The number of the frame that is measured at this place: measured frames are spread evenly over the video."""
    return place * frame_count // frames_measured


def quarter_decibels(mean_squared_errors: npt.NDArray[np.floating], *, peak: int) -> QuarterDecibels:
    """PSNR as it is stored.

    Args:
        mean_squared_errors: (frames, patches), 0 where there is no error.
        peak: the largest sample, 255 or 1023.
    """
    with np.errstate(divide="ignore"):
        psnr = 10 * np.log10(peak**2 / mean_squared_errors.astype(np.float64))
    quarters: QuarterDecibels = np.clip(np.floor(_PER_DECIBEL * psnr), 0, _HIGHEST).astype(np.uint8)
    return quarters


def decibels(quarters: QuarterDecibels) -> npt.NDArray[np.float64]:
    """The same in dB."""
    return quarters / _PER_DECIBEL


def encode_measured_segment(segment: MeasuredSegment) -> bytes:
    """What the file holds of one segment. The segments are written one after another."""
    data = zlib.compress(segment.f0.tobytes() + segment.restored.tobytes(), level=9)
    return _HEAD.pack(segment.first_measured, len(segment.f0), len(data)) + data


def decode_patch_errors(data: bytes, *, frames_measured: int, patch_count: int) -> Iterator[MeasuredSegment]:
    """Read the file, a segment at a time.

    Raises:
        MalformedPatchErrorsError: the bytes don't hold so many frames and patches.
    """
    place = offset = 0
    while offset < len(data):
        if offset + _HEAD.size > len(data):
            raise _malformed("it ends within a segment's numbers")
        first_measured, frame_count, byte_count = _HEAD.unpack_from(data, offset)
        offset += _HEAD.size
        if first_measured != place or not 0 < frame_count <= frames_measured - place:
            raise _malformed(f"a segment begins at measured frame {first_measured} with {frame_count} frames")
        planes = _inflated(data[offset : offset + byte_count], (2, frame_count, patch_count))
        yield MeasuredSegment(first_measured=place, f0=planes[0], restored=planes[1])
        place += frame_count
        offset += byte_count
    if place != frames_measured:
        raise _malformed(f"it holds {place} frames of {frames_measured}")


def _inflated(data: bytes, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    byte_count = int(np.prod(shape))
    inflater = zlib.decompressobj()
    try:
        # A byte more than wanted shows excess without inflating all of it.
        values = inflater.decompress(data, byte_count + 1)
    except zlib.error as error:
        raise _malformed(f"a segment is no valid zlib data ({error})") from error
    if len(values) != byte_count or not inflater.eof or inflater.unused_data:
        raise _malformed(f"a segment doesn't hold {byte_count} bytes")
    return np.frombuffer(values, np.uint8).reshape(shape)


def _malformed(reason: str) -> MalformedPatchErrorsError:
    return MalformedPatchErrorsError(f"{PATCH_ERRORS_NAME} can't be read: {reason}. Fetch the bundle's reports again.")
