"""The segment table: for each segment of whole frames, where its part of the base stream and of the patch index lies.

A small binary file that the manifest hashes, so that a reader may use each segment as soon as it has checked it
(docs/FORMAT.md, section 5.4). Two hours in segments of five seconds take 144 kB.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from stdo.bundle.manifest import Manifest
from stdo.errors import MalformedSegmentTableError

_LARGEST_PART = 2**32 - 1
SEGMENT_MAX_NUMBERS = 1 << 26
"""Numbers in one segment of the patch index: what a reader must be ready to hold in memory."""
_RECORD = struct.Struct("<IqQI32sQI32s")
RECORD_BYTES = _RECORD.size
"""100: first_frame, time, then offset, byte count and SHA-256 of the base stream's part, and of the patch index's."""


@dataclass(frozen=True, kw_only=True)
class ByteRange:
    """Some bytes of a file, and what they are known by."""

    offset: int
    byte_count: int
    sha256: str

    @property
    def end(self) -> int:
        """Offset of the first byte after it."""
        return self.offset + self.byte_count


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Some whole, consecutive frames that begin with a key frame."""

    first_frame: int
    """Number of its first frame, counted from 0 in order of presentation."""
    time_ticks: int
    """When that frame is shown, in ticks of `base_stream.time_base`."""
    base_stream: ByteRange
    patch_index: ByteRange | None
    """None in a bundle without networks."""


def encode_segment_table(segments: Sequence[Segment]) -> bytes:
    """Write the table.

    Raises:
        MalformedSegmentTableError: a segment's part of a file has 4 GiB or more.
    """
    return b"".join(_record(segment) for segment in segments)


def decode_segment_table(data: bytes, *, segment_count: int, has_patch_index: bool) -> tuple[Segment, ...]:
    """Read what `encode_segment_table` wrote.

    Raises:
        MalformedSegmentTableError: the bytes aren't so many records, or the records don't follow one another.
    """
    if not segment_count or len(data) != segment_count * RECORD_BYTES:
        raise MalformedSegmentTableError(
            f"A segment table of {segment_count} segments has {segment_count * RECORD_BYTES} bytes; this one has "
            f"{len(data)}."
        )
    segments = tuple(_segment(record, has_patch_index) for record in _RECORD.iter_unpack(data))
    _check_order(segments)
    return segments


def check_coverage(segments: Sequence[Segment], manifest: Manifest) -> None:
    """Check a table against its manifest: the segments fill the two files, and hold the video's frames.

    Raises:
        MalformedSegmentTableError: they don't.
    """
    stream, picture, last = manifest.base_stream, manifest.picture, segments[-1]
    if segments[0].base_stream.offset != stream.header.byte_count or last.base_stream.end != stream.byte_count:
        raise MalformedSegmentTableError(f"The segments don't fill {stream.path} from its header to its end.")
    if last.first_frame >= picture.frame_count:
        raise MalformedSegmentTableError(
            f"The last segment begins with frame {last.first_frame}; the video has {picture.frame_count}."
        )
    if (last.time_ticks - segments[0].time_ticks) * stream.time_base.fraction >= picture.duration_seconds:
        raise MalformedSegmentTableError(
            f"The last segment begins after the {picture.duration_seconds} s of the video."
        )
    index, grid = manifest.patch_index, manifest.patch_grid
    if index is None or grid is None:
        return
    if last.patch_index is None or last.patch_index.end != index.byte_count:
        raise MalformedSegmentTableError(f"The segments don't fill {index.path}.")
    longest = max(len(frames_of_segment(segments, place, picture.frame_count)) for place in range(len(segments)))
    if longest * grid.patch_count > SEGMENT_MAX_NUMBERS:
        raise MalformedSegmentTableError(
            f"A segment of {longest} frames with {grid.patch_count} patches holds more than {SEGMENT_MAX_NUMBERS} "
            "numbers."
        )


def frames_of_segment(segments: Sequence[Segment], place: int, frame_count: int) -> range:
    """The numbers of the frames of the segment at that place in the table.

    Args:
        frame_count: of the whole video.
    """
    end = segments[place + 1].first_frame if place + 1 < len(segments) else frame_count
    return range(segments[place].first_frame, end)


def segment_of_frame(segments: Sequence[Segment], frame: int) -> int:
    """The place in the table of the segment that holds a frame."""
    return bisect_right(segments, frame, key=lambda segment: segment.first_frame) - 1


def _record(segment: Segment) -> bytes:
    base, index = segment.base_stream, segment.patch_index
    if max(base.byte_count, 0 if index is None else index.byte_count) > _LARGEST_PART:
        raise MalformedSegmentTableError(
            f"The segment that begins with frame {segment.first_frame} has 4 GiB or more. Make segments shorter."
        )
    index_fields = (0, 0, bytes(32)) if index is None else (index.offset, index.byte_count, bytes.fromhex(index.sha256))
    return _RECORD.pack(
        segment.first_frame,
        segment.time_ticks,
        base.offset,
        base.byte_count,
        bytes.fromhex(base.sha256),
        *index_fields,
    )


def _segment(record: tuple[int, int, int, int, bytes, int, int, bytes], has_patch_index: bool) -> Segment:
    first_frame, time_ticks, base_offset, base_bytes, base_hash, index_offset, index_bytes, index_hash = record
    return Segment(
        first_frame=first_frame,
        time_ticks=time_ticks,
        base_stream=ByteRange(offset=base_offset, byte_count=base_bytes, sha256=base_hash.hex()),
        patch_index=ByteRange(offset=index_offset, byte_count=index_bytes, sha256=index_hash.hex())
        if has_patch_index
        else None,
    )


def _check_order(segments: Sequence[Segment]) -> None:
    """Each segment begins where the one before it ends, in frames, in time and in either file."""
    if segments[0].first_frame != 0:
        raise MalformedSegmentTableError("The first segment doesn't begin with frame 0.")
    if segments[0].patch_index is not None and segments[0].patch_index.offset != 0:
        raise MalformedSegmentTableError("The first segment of the patch index doesn't begin at its first byte.")
    if any(not segment.base_stream.byte_count for segment in segments):
        raise MalformedSegmentTableError("A segment of the base stream is empty.")
    for number, (before, segment) in enumerate(pairwise(segments), start=1):
        follows = (
            segment.first_frame > before.first_frame
            and segment.time_ticks > before.time_ticks
            and segment.base_stream.offset == before.base_stream.end
            and (
                segment.patch_index is None
                or before.patch_index is None
                or segment.patch_index.offset == before.patch_index.end
            )
        )
        if not follows:
            raise MalformedSegmentTableError(f"Segment {number} doesn't begin where the one before it ends.")
