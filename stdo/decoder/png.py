"""PNG files of R'G'B' pictures, also of ten bits, which Pillow can't write."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from stdo.bundle.codecs import BitDepth
from stdo.bundle.geometry import Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TRUECOLOUR = 2
_UP_FILTER = 2
# Deflating harder takes several times as long as restoring the frame, for a tenth of the bytes.
_COMPRESSION_LEVEL = 1


def png_bytes(rgb: Image, bit_depth: BitDepth) -> bytes:
    """A PNG file (W3C PNG specification) with 8 bits a sample, or with 16 for a picture of 10.

    Ten bits fill sixteen by repeating their upper bits below, so that white stays white; the file says that ten count.

    Args:
        rgb: (h, w, 3) of that depth.
    """
    height, width = rgb.shape[:2]
    stored_bits = 8 if bit_depth == 8 else 16
    header = struct.pack(">IIBBBBB", width, height, stored_bits, _TRUECOLOUR, 0, 0, 0)
    chunks = [_chunk(b"IHDR", header)]
    if bit_depth == 10:
        chunks.append(_chunk(b"sBIT", bytes([bit_depth] * 3)))
        rgb = (rgb << np.uint16(6)) | (rgb >> np.uint16(4))
    chunks.append(_chunk(b"IDAT", zlib.compress(_filtered(rgb), _COMPRESSION_LEVEL)))
    return b"".join([_SIGNATURE, *chunks, _chunk(b"IEND", b"")])


def _filtered(rgb: Image) -> bytes:
    """Each line of bytes less the one above it, after the number of this filter."""
    lines = np.ascontiguousarray(rgb, dtype=rgb.dtype.newbyteorder(">")).view(np.uint8).reshape(rgb.shape[0], -1)
    filtered = np.empty((lines.shape[0], 1 + lines.shape[1]), np.uint8)
    filtered[:, 0] = _UP_FILTER
    filtered[0, 1:] = lines[0]
    np.subtract(lines[1:], lines[:-1], out=filtered[1:, 1:])
    return filtered.tobytes()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
