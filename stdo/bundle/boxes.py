"""The boxes of a base stream's MP4 file: where its header ends, and where its fragments lie (ISO/IEC 14496-12)."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from stdo.bundle.segments import ByteRange
from stdo.errors import VideoError

_HEADER_KINDS = ("ftyp", "moov")
_COPY_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Box:
    """One box."""

    kind: str
    """Its four characters, such as `moof`."""
    offset: int
    byte_count: int
    """With its own header."""

    @property
    def end(self) -> int:
        """Offset of the first byte after it."""
        return self.offset + self.byte_count


@dataclass(frozen=True, kw_only=True)
class StreamRanges:
    """How a fragmented MP4 is made up: the header, then the fragments, and nothing after them."""

    header: ByteRange
    fragments: tuple[ByteRange, ...]
    """Each from its `moof` to the end of its `mdat`."""


def top_level_boxes(file: BinaryIO) -> Iterator[Box]:
    """The boxes of a file, from its first byte to its last. Where the file stands before doesn't matter.

    Raises:
        VideoError: the bytes are not a row of boxes.
    """
    end = file.seek(0, os.SEEK_END)
    offset = 0
    while offset < end:
        file.seek(offset)
        box = _read_box(file.read(16), offset)
        if box.end > end:
            raise VideoError(f"The MP4 file is cut short: its box {box.kind!r} ends at {box.end} of {end} bytes.")
        yield box
        offset = box.end


def read_stream_ranges(path: Path) -> StreamRanges:
    """Where the header and the fragments of a base stream lie, with their hashes. Reads the file once.

    Raises:
        VideoError: it is not fragmented MP4 of `ftyp`, `moov`, and pairs of `moof` and `mdat`.
    """
    with path.open("rb") as file:
        boxes = list(top_level_boxes(file))
        kinds = tuple(box.kind for box in boxes)
        fragments = boxes[len(_HEADER_KINDS) :]
        if kinds != _HEADER_KINDS + ("moof", "mdat") * (len(fragments) // 2) or not fragments:
            raise VideoError(
                f"{path.name} is no base stream: it has the boxes {' '.join(kinds[:8])}... in place of ftyp moov "
                "and then moof mdat moof mdat to the end."
            )
        return StreamRanges(
            header=_hashed(file, 0, boxes[1].end),
            fragments=tuple(
                _hashed(file, moof.offset, mdat.end) for moof, mdat in zip(fragments[::2], fragments[1::2], strict=True)
            ),
        )


def _read_box(start: bytes, offset: int) -> Box:
    """A box from its first 16 bytes."""
    if len(start) < 8:
        raise VideoError(f"The MP4 file has no box at byte {offset}.")
    byte_count, kind = struct.unpack_from(">I4s", start)
    smallest = 8
    if byte_count == 1 and len(start) == 16:
        byte_count, smallest = struct.unpack_from(">Q", start, 8)[0], 16
    if byte_count < smallest:
        raise VideoError(f"The MP4 file has no box at byte {offset}.")
    return Box(kind=kind.decode("latin-1"), offset=offset, byte_count=byte_count)


def _hashed(file: BinaryIO, start: int, end: int) -> ByteRange:
    digest = hashlib.sha256()
    file.seek(start)
    for place in range(start, end, _COPY_BYTES):
        digest.update(file.read(min(_COPY_BYTES, end - place)))
    return ByteRange(offset=start, byte_count=end - start, sha256=digest.hexdigest())
