"""The committed bundles restore to what they always did, and a second decoder, written from the text, agrees."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import stdo
from stdo.bundle.geometry import sample_type
from stdo.bundle.manifest import Colour
from tests.stdo.bundles import write_small_bundle
from tests.stdo.independent_decoder import decode_bundle
from tests.stdo.make_golden import (
    GOLDEN,
    GOLDEN_NAMES,
    LEAST_DISTANCE,
    distance_from_ties,
    expected_frames,
    sha256_of,
    steady_network,
)

BT2020 = Colour(matrix="bt2020", range="limited", primaries="unknown", transfer="unknown")
VARIED = {
    "rgb x2, odd size": {"width": 27, "height": 19},
    "rgb x3, halo 0": {"scale": 3, "width": 26, "height": 25, "patch": (4, 9), "halo": 0},
    "rgb x4, one patch larger than the frame": {"scale": 4, "width": 33, "height": 18, "patch": (24, 16), "halo": 3},
    "rgb x1, patches that don't divide": {"scale": 1, "width": 19, "height": 13, "patch": (7, 5), "halo": 1},
    "luma x2, halo larger than the frame": {"channels": "luma", "width": 7, "height": 5, "patch": (3, 3), "halo": 6},
    "luma x4": {"channels": "luma", "scale": 4, "width": 50, "height": 23},
    "luma x1, 10 bits": {"channels": "luma", "scale": 1, "width": 16, "height": 9, "depths": (10, 10)},
    "rgb, single pixel": {"width": 1, "height": 1, "patch": (1, 1), "halo": 1},
    "yuv x3, one patch larger than the frame": {"channels": "yuv", "scale": 3, "width": 21, "height": 14},
    "yuv x1, halo larger than the frame": {"channels": "yuv", "scale": 1, "width": 5, "height": 3, "halo": 8},
    "yuv x2, 8 to 10 bits": {"channels": "yuv", "width": 26, "height": 17, "patch": (4, 6), "depths": (8, 10)},
    "bt2020, limited, 10 bits": {"width": 22, "height": 14, "colour": BT2020, "depths": (10, 10)},
    "bt2020, limited, 10 to 8 bits": {"width": 22, "height": 14, "colour": BT2020, "depths": (10, 8)},
}


@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_golden_bundle_restores_to_the_committed_hashes(name: str) -> None:
    expected = json.loads((GOLDEN / name / "expected.json").read_text(encoding="utf-8"))
    assert expected_frames(GOLDEN / name) == expected


@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_golden_bundle_by_the_second_decoder(name: str) -> None:
    expected = json.loads((GOLDEN / name / "expected.json").read_text(encoding="utf-8"))
    bit_depth = json.loads((GOLDEN / name / "manifest.json").read_text(encoding="utf-8"))["picture"]["bit_depth"]
    frames = decode_bundle(GOLDEN / name)
    assert [str(frame.time) for frame in frames] == [entry["time"] for entry in expected]
    kind = sample_type(bit_depth)
    assert [sha256_of(frame.rgb.astype(kind)) for frame in frames] == [entry["rgb_sha256"] for entry in expected]
    planes = [sha256_of(*(plane.astype(kind) for plane in frame.planes)) for frame in frames]
    assert planes == [entry["yuv_sha256"] for entry in expected]


@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_no_golden_sample_is_near_a_tie(name: str) -> None:
    assert distance_from_ties(GOLDEN / name) > LEAST_DISTANCE


@pytest.mark.parametrize("options", VARIED.values(), ids=VARIED.keys())
def test_both_decoders_agree(options: dict[str, object], tmp_path: Path) -> None:
    times = [Fraction(number, 25) for number in range(3)]
    settings = dict(options)
    base_depth, depth = settings.pop("depths", (8, 8))  # type: ignore[misc]
    networks = [
        steady_network(settings.get("scale", 2), settings.get("channels", "rgb"), seed=seed, depths=(base_depth, depth))  # type: ignore[arg-type]
        for seed in (1, 2)
    ]
    folder = write_small_bundle(
        tmp_path,
        times=times,
        networks=networks,
        bit_depth=depth,
        base_bit_depth=base_depth,
        segment_starts=(0, 2),
        **settings,  # type: ignore[arg-type]
    )
    with stdo.open_bundle(folder) as bundle:
        restored = list(stdo.reconstruct(bundle))
    independent = decode_bundle(folder)
    assert [frame.time for frame in restored] == [frame.time for frame in independent] == times
    for ours, theirs in zip(restored, independent, strict=True):
        np.testing.assert_array_equal(ours.rgb, theirs.rgb)
        for plane, expected in zip((ours.yuv.y, ours.yuv.u, ours.yuv.v), theirs.planes, strict=True):
            np.testing.assert_array_equal(plane, expected)
