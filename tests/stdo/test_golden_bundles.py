"""The committed bundles restore to what they always did, and a second decoder, written from the text, agrees."""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import stdo
from stdo.bundle.manifest import Colour
from tests.stdo.bundles import write_small_bundle
from tests.stdo.independent_decoder import decode_bundle
from tests.stdo.make_golden import GOLDEN, expected_frames

VARIED = {
    "rgb x2, odd size": {"width": 27, "height": 19},
    "rgb x3, halo 0": {"scale": 3, "width": 26, "height": 25, "patch": (4, 9), "halo": 0},
    "rgb x4, one patch larger than the frame": {"scale": 4, "width": 33, "height": 18, "patch": (24, 16), "halo": 3},
    "luma x2, halo larger than the frame": {"channels": "luma", "width": 7, "height": 5, "patch": (3, 3), "halo": 6},
    "luma x4": {"channels": "luma", "scale": 4, "width": 50, "height": 23},
    "rgb, single pixel": {"width": 1, "height": 1, "patch": (1, 1), "halo": 1},
    "bt2020, limited": {
        "width": 22,
        "height": 14,
        "colour": Colour(matrix="bt2020", range="limited", primaries="unknown", transfer="unknown"),
    },
}


@pytest.mark.parametrize("name", ["rgb", "luma"])
def test_golden_bundle_restores_to_the_committed_hashes(name: str) -> None:
    expected = json.loads((GOLDEN / name / "expected.json").read_text(encoding="utf-8"))
    assert expected_frames(GOLDEN / name) == expected


@pytest.mark.parametrize("name", ["rgb", "luma"])
def test_golden_bundle_by_the_second_decoder(name: str) -> None:
    expected = json.loads((GOLDEN / name / "expected.json").read_text(encoding="utf-8"))
    frames = decode_bundle(GOLDEN / name)
    assert [str(frame.time) for frame in frames] == [entry["time"] for entry in expected]
    hashes = [hashlib.sha256(frame.rgb.tobytes()).hexdigest() for frame in frames]
    assert hashes == [entry["rgb_sha256"] for entry in expected]


@pytest.mark.parametrize("options", VARIED.values(), ids=VARIED.keys())
def test_both_decoders_agree(options: dict[str, object], tmp_path: Path) -> None:
    times = [Fraction(number, 25) for number in range(2)]
    folder = write_small_bundle(tmp_path, times=times, **options)  # type: ignore[arg-type]
    with stdo.open_bundle(folder) as bundle:
        restored = list(stdo.reconstruct(bundle))
    independent = decode_bundle(folder)
    assert [frame.time for frame in restored] == [frame.time for frame in independent] == times
    for ours, theirs in zip(restored, independent, strict=True):
        np.testing.assert_array_equal(ours.rgb, theirs.rgb)
        if theirs.planes is not None:
            for plane, expected in zip((ours.yuv.y, ours.yuv.u, ours.yuv.v), theirs.planes, strict=True):
                np.testing.assert_array_equal(plane, expected)
