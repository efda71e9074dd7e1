"""Where header and fragments of a base stream lie."""

from __future__ import annotations

import hashlib
import io
import struct
from pathlib import Path

import av
import pytest

from stdo.bundle.boxes import Box, read_stream_ranges, top_level_boxes
from stdo.errors import VideoError
from tests.stdo.bundles import FIVE_FRAMES, make_picture, moving_frames, write_base_stream


def test_header_and_fragments_fill_the_file(folder: Path) -> None:
    data = (folder / "base.mp4").read_bytes()
    ranges = read_stream_ranges(folder / "base.mp4")
    parts = [ranges.header, *ranges.fragments]
    assert len(ranges.fragments) == 3
    assert [part.offset for part in parts] == [0, *(part.end for part in parts[:-1])]
    assert parts[-1].end == len(data)
    for part in parts:
        assert part.sha256 == hashlib.sha256(data[part.offset : part.end]).hexdigest()
    assert data[4:8] == b"ftyp"
    assert all(data[part.offset + 4 : part.offset + 8] == b"moof" for part in ranges.fragments)


def test_boxes_are_walked_with_sizes_of_either_kind() -> None:
    data = struct.pack(">I4s4x", 12, b"ftyp") + struct.pack(">I4sQ3x", 1, b"mdat", 19) + struct.pack(">I4s", 8, b"free")
    assert list(top_level_boxes(io.BytesIO(data))) == [
        Box(kind="ftyp", offset=0, byte_count=12),
        Box(kind="mdat", offset=12, byte_count=19),
        Box(kind="free", offset=31, byte_count=8),
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0",
        struct.pack(">I4s", 7, b"ftyp"),
        struct.pack(">I4s", 0, b"mdat"),
        struct.pack(">I4sQ", 1, b"mdat", 15),
        struct.pack(">I4s", 1, b"mdat"),
        struct.pack(">I4s", 9, b"mdat"),
        struct.pack(">I4sQ", 1, b"mdat", 2**64 - 1),
    ],
    ids=["no size", "too small", "to the end", "large one too small", "large one cut off", "cut short", "huge"],
)
def test_what_is_no_row_of_boxes_is_refused(data: bytes) -> None:
    with pytest.raises(VideoError, match="The MP4 file"):
        list(top_level_boxes(io.BytesIO(data)))


@pytest.mark.parametrize("movflags", ["", "frag_keyframe+delay_moov"], ids=["not fragmented", "with a trailer"])
def test_other_mp4_files_are_no_base_streams(movflags: str, tmp_path: Path) -> None:
    write_base_stream(
        tmp_path / "right.mp4", moving_frames(make_picture(width=32, height=32, scale=1, frame_count=5), FIVE_FRAMES)
    )
    with (
        av.open(str(tmp_path / "right.mp4")) as right,
        av.open(str(tmp_path / "other.mp4"), "w", options={"movflags": movflags} if movflags else {}) as other,
    ):
        stream = other.add_stream_from_template(right.streams.video[0])
        for packet in right.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                other.mux(packet)
    assert len(read_stream_ranges(tmp_path / "right.mp4").fragments) == 1
    with pytest.raises(
        VideoError, match=r"other\.mp4 is no base stream: it has the boxes ftyp .*in place of ftyp moov"
    ):
        read_stream_ranges(tmp_path / "other.mp4")
