"""The patch index: for each patch of each frame, the network that restores it (docs/FORMAT.md, section 8)."""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

from stdo.errors import MalformedPatchIndexError

NetworkNumbers = npt.NDArray[np.uint8]
"""(frames, rows * columns) uint8, patches in raster order"""
AS_DECODED = 255
"""In place of a network's number: the patch is shown as decoded, enlarged by the plain filter."""


def encode_segment(index: NetworkNumbers) -> bytes:
    """Write the network numbers of some whole frames: each frame less the one before it, mod 256, deflated.

    Patches keep their network over time, so that the differences are nearly all zero.
    """
    differences = index.copy()
    differences[1:] -= index[:-1]  # uint8 wraps around, which is the mod 256.
    return zlib.compress(differences.tobytes(), level=9)


def decode_segment(data: bytes, *, frame_count: int, patch_count: int) -> NetworkNumbers:
    """Read what `encode_segment` wrote.

    Returns:
        (frame_count, patch_count) uint8.

    Raises:
        MalformedPatchIndexError: the bytes don't hold exactly that many numbers.
    """
    byte_count = frame_count * patch_count
    inflater = zlib.decompressobj()
    try:
        # A byte more than wanted shows excess without inflating all of it.
        differences = inflater.decompress(data, byte_count + 1)
    except zlib.error as error:
        raise MalformedPatchIndexError(f"A patch index segment is no valid zlib data: {error}") from error
    if len(differences) != byte_count or not inflater.eof or inflater.unused_data:
        raise MalformedPatchIndexError(
            f"A patch index segment of {frame_count} frames with {patch_count} patches holds {byte_count} numbers; "
            f"this one is cut short or holds something else."
        )
    numbers = np.frombuffer(differences, np.uint8).reshape(frame_count, patch_count)
    return np.cumsum(numbers, axis=0, dtype=np.uint8)
