from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from stdo.errors import MalformedPatchErrorsError
from stdo.quality.patch_errors import (
    MeasuredSegment,
    decode_patch_errors,
    encode_measured_segment,
    measured_frame,
    quarter_decibels,
)

_RANDOM = np.random.default_rng(1)
_SEGMENTS = [
    MeasuredSegment(
        first_measured=first,
        f0=_RANDOM.integers(0, 256, (count, 6), dtype=np.uint8),
        restored=_RANDOM.integers(0, 256, (count, 6), dtype=np.uint8),
    )
    for first, count in ((0, 3), (3, 1), (4, 5))
]
_FILE = b"".join(encode_measured_segment(segment) for segment in _SEGMENTS)


def test_what_is_written_is_read() -> None:
    read = list(decode_patch_errors(_FILE, frames_measured=9, patch_count=6))
    assert [segment.first_measured for segment in read] == [0, 3, 4]
    for segment, written in zip(read, _SEGMENTS, strict=True):
        np.testing.assert_array_equal(segment.f0, written.f0)
        np.testing.assert_array_equal(segment.restored, written.restored)


def test_the_bytes_are_as_the_format_says() -> None:
    segment = MeasuredSegment(first_measured=7, f0=np.array([[1, 2]], np.uint8), restored=np.array([[3, 4]], np.uint8))
    data = encode_measured_segment(segment)
    assert struct.unpack("<III", data[:12]) == (7, 1, len(data) - 12)
    assert zlib.decompress(data[12:]) == bytes([1, 2, 3, 4])


def test_psnr_in_quarters_of_a_decibel() -> None:
    errors = np.array([[0.0, 1e-9, 255.0**2, 65.025, 6.5025, 1e9]])
    assert quarter_decibels(errors, peak=255).tolist() == [[255, 255, 0, 120, 160, 0]]
    assert quarter_decibels(np.array([[1023.0**2 / 10**3.01, 1023.0**2 / 10**6.37]]), peak=1023).tolist() == [
        [120, 254]
    ]


def test_measured_frames_are_spread_evenly() -> None:
    assert [measured_frame(place, frame_count=10, frames_measured=4) for place in range(4)] == [0, 2, 5, 7]
    assert [measured_frame(place, frame_count=5, frames_measured=5) for place in range(5)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (_FILE[:-1], "doesn't hold|valid zlib"),
        (_FILE + b"\0", "ends within"),
        (_FILE + _FILE, "begins at measured frame 0"),
        (encode_measured_segment(_SEGMENTS[0]), "3 frames of 9"),
        (struct.pack("<III", 0, 10, 0), "with 10 frames"),
        (struct.pack("<III", 0, 9, 4) + b"none", "valid zlib"),
        (struct.pack("<III", 0, 9, 17) + zlib.compress(bytes(1 << 10)), "doesn't hold 108 bytes"),
    ],
)
def test_damaged_files_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(MalformedPatchErrorsError, match=reason):
        list(decode_patch_errors(data, frames_measured=9, patch_count=6))
