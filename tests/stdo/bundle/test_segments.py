"""The bytes of the segment table, and what a reader refuses of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stdo.bundle.manifest import Manifest
from stdo.bundle.manifest_reader import parse_manifest
from stdo.bundle.segments import (
    RECORD_BYTES,
    ByteRange,
    Segment,
    check_coverage,
    decode_segment_table,
    encode_segment_table,
    frames_of_segment,
    segment_of_frame,
)
from stdo.errors import MalformedSegmentTableError
from tests.stdo.bundle.test_manifest_reader import changed


def make_segments(*, has_index: bool = True) -> tuple[Segment, ...]:
    """Three segments of 125, 120 and 40 frames, after a header of 1000 bytes."""
    rows = [(0, -512, 1000, 5000, 0, 70), (125, 64_000, 6000, 3000, 70, 50), (245, 125_440, 9000, 1, 120, 9)]
    return tuple(
        Segment(
            first_frame=first,
            time_ticks=ticks,
            base_stream=ByteRange(offset=offset, byte_count=count, sha256=f"{first:064x}"),
            patch_index=ByteRange(offset=at, byte_count=size, sha256="ab" * 32) if has_index else None,
        )
        for first, ticks, offset, count, at, size in rows
    )


@pytest.mark.parametrize("has_index", [True, False])
def test_decoding_undoes_encoding(has_index: bool) -> None:
    segments = make_segments(has_index=has_index)
    data = encode_segment_table(segments)
    assert len(data) == 3 * RECORD_BYTES == 300
    assert decode_segment_table(data, segment_count=3, has_patch_index=has_index) == segments


def test_record_is_laid_out_as_the_format_says() -> None:
    data = encode_segment_table(make_segments())[100:200]
    assert data.hex(" ", 4) == (
        "7d000000 00fa0000 00000000 70170000 00000000 b80b0000"
        + " 00000000" * 7
        + " 0000007d 46000000 00000000 32000000"
        + " abababab" * 8
    )


def test_two_hours_stay_below_two_hundred_kilobytes() -> None:
    assert 2 * 3600 // 5 * RECORD_BYTES == 144_000


def test_frames_and_segments_find_each_other() -> None:
    segments = make_segments()
    frames = [frames_of_segment(segments, place, 285) for place in range(3)]
    assert frames == [range(125), range(125, 245), range(245, 285)]
    assert [segment_of_frame(segments, frame) for frame in (0, 124, 125, 244, 245, 284)] == [0, 0, 1, 1, 2, 2]


Change = Callable[[list[Segment]], None]


def _change(place: int, **values: object) -> Change:
    def change(segments: list[Segment]) -> None:
        segments[place] = replace(segments[place], **values)  # type: ignore[arg-type]

    return change


def _part(offset: int, byte_count: int) -> ByteRange:
    return ByteRange(offset=offset, byte_count=byte_count, sha256="0" * 64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_change(0, first_frame=1), "doesn't begin with frame 0"),
        (_change(1, first_frame=0), "Segment 1 doesn't begin where"),
        (_change(2, first_frame=124), "Segment 2 doesn't begin where"),
        (_change(1, time_ticks=-512), "Segment 1 doesn't begin where"),
        (_change(1, base_stream=_part(6001, 2999)), "Segment 1 doesn't begin where"),
        (_change(2, base_stream=_part(9000, 0)), "is empty"),
        (_change(2, patch_index=_part(119, 9)), "Segment 2 doesn't begin where"),
        (_change(0, patch_index=_part(1, 69)), "doesn't begin at its first byte"),
    ],
)
def test_segments_that_do_not_follow_are_refused(change: Change, message: str) -> None:
    segments = list(make_segments())
    change(segments)
    data = encode_segment_table(segments)
    with pytest.raises(MalformedSegmentTableError, match=message):
        decode_segment_table(data, segment_count=3, has_patch_index=True)


@pytest.mark.parametrize("count", [0, 2, 4])
def test_table_of_another_length_is_refused(count: int) -> None:
    with pytest.raises(MalformedSegmentTableError, match=f"of {count} segments has {100 * count} bytes; .* 300"):
        decode_segment_table(encode_segment_table(make_segments()), segment_count=count, has_patch_index=True)


def test_empty_table_is_refused() -> None:
    with pytest.raises(MalformedSegmentTableError):
        decode_segment_table(b"", segment_count=0, has_patch_index=True)


def test_segment_that_fits_no_record_is_refused() -> None:
    segments = list(make_segments())
    segments[1] = replace(segments[1], base_stream=_part(6000, 2**32))
    with pytest.raises(MalformedSegmentTableError, match=r"frame 125 has 4 GiB or more\. Make segments shorter"):
        encode_segment_table(segments)


@settings(deadline=None)
@given(st.binary(min_size=200, max_size=200), st.booleans())
def test_any_bytes_are_decoded_or_refused(data: bytes, has_index: bool) -> None:
    try:
        segments = decode_segment_table(data, segment_count=2, has_patch_index=has_index)
    except MalformedSegmentTableError:
        return
    assert len(segments) == 2


def _manifest(base_manifest: bytes, **picture: object) -> Manifest:
    def change(document: dict[str, dict[str, object]]) -> None:
        document["picture"].update({"frame_count": 285, "duration_seconds": 12, **picture})
        document["base_stream"].update(byte_count=9001, header={"byte_count": 1000, "sha256": "0" * 64})
        document["patch_index"].update(byte_count=129)

    return parse_manifest(changed(base_manifest, change))


def test_whole_table_covers_both_files(base_manifest: bytes) -> None:
    check_coverage(make_segments(), _manifest(base_manifest))


@pytest.mark.parametrize(
    ("picture", "change", "message"),
    [
        ({}, _change(0, base_stream=_part(999, 5001)), "don't fill base.mp4"),
        ({}, _change(2, base_stream=_part(9000, 2)), "don't fill base.mp4"),
        ({}, _change(2, patch_index=_part(120, 10)), "don't fill index.bin"),
        ({}, _change(2, patch_index=None), "don't fill index.bin"),
        ({"frame_count": 245}, _change(0), "begins with frame 245; the video has 245"),
        ({"frame_count": 245 + 7_456_541}, _change(0), "holds more than 67108864 numbers"),
        ({"duration_seconds": float(Fraction(125_952, 12_800))}, _change(0), r"begins after the 9\.84 s"),
    ],
)
def test_table_that_covers_something_else_is_refused(
    picture: dict[str, object], change: Change, message: str, base_manifest: bytes
) -> None:
    segments = list(make_segments())
    change(segments)
    with pytest.raises(MalformedSegmentTableError, match=message):
        check_coverage(segments, _manifest(base_manifest, **picture))
