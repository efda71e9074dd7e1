"""The bytes of the patch index."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stdo.bundle.patch_index import decode_segment, encode_segment
from stdo.errors import MalformedPatchIndexError


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 60), st.integers(1, 256), st.integers(0, 2**32 - 1))
def test_decoding_undoes_encoding(frames: int, patches: int, networks: int, seed: int) -> None:
    index = np.random.default_rng(seed).integers(0, networks, (frames, patches)).astype(np.uint8)
    decoded = decode_segment(encode_segment(index), frame_count=frames, patch_count=patches)
    np.testing.assert_array_equal(decoded, index)


def test_patches_that_keep_their_network_cost_next_to_nothing() -> None:
    index = np.repeat(np.random.default_rng(0).integers(0, 4, (1, 200), dtype=np.uint8), 50, axis=0)
    assert len(encode_segment(index)) < 150


VALID = encode_segment(np.zeros((3, 7), np.uint8))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not zlib",
        VALID[:-1],
        VALID + b"\0",
        VALID + VALID,
        zlib.compress(bytes(20)),
        zlib.compress(bytes(22)),
        zlib.compress(bytes(50_000_000)),
    ],
    ids=["empty", "no zlib", "cut short", "a byte after", "two streams", "too few", "too many", "far too many"],
)
def test_malformed_segment_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedPatchIndexError, match="patch index segment"):
        decode_segment(data, frame_count=3, patch_count=7)


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    try:
        index = decode_segment(data, frame_count=2, patch_count=2)
    except MalformedPatchIndexError:
        return
    assert zlib.decompress(data) == bytes([*index[0], *(index[1] - index[0])])
