"""docs/FORMAT.md says what the code does: its tables, its examples, its fields."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel

import stdo
from stdo.bundle import manifest
from stdo.bundle.codecs import BitDepth
from stdo.bundle.h273 import colour_codes
from stdo.bundle.manifest import Colour
from stdo.bundle.patch_index import decode_segment
from stdo.decoder.colour import colour_factors
from stdo.decoder.frames import yuv_to_rgb
from stdo.decoder.video_reader import decode_video
from stdo.networks.onnx_profile import (
    IR_VERSION,
    LARGEST_ENLARGEMENT,
    LARGEST_KERNEL,
    MOST_BYTES,
    MOST_CHANNELS,
    MOST_MULTIPLICATIONS,
    MOST_NODES,
    OPERATORS,
    OPSET,
)
from tests.stdo.make_golden import GOLDEN, GOLDEN_NAMES

TEXT = (Path(__file__).parents[2] / "docs" / "FORMAT.md").read_text(encoding="utf-8")


def _colour(matrix: str, value_range: str, *, primaries: str = "unknown", transfer: str = "unknown") -> Colour:
    return Colour.model_validate({"matrix": matrix, "range": value_range, "primaries": primaries, "transfer": transfer})


def _rows(columns: int) -> dict[tuple[str, str, BitDepth], list[int]]:
    """The rows of the table that has a matrix, a range, bit depths, and so many factors."""
    pattern = r"^\| `(bt\w+)` \| `(limited|full)` \| (8|10|8, 10) \|" + r" (-?\d+) \|" * columns + "$"
    return {
        (matrix, value_range, 10 if depth == "10" else 8): [int(factor) for factor in factors]
        for matrix, value_range, depths, *factors in re.findall(pattern, TEXT, re.MULTILINE)
        for depth in depths.split(", ")
    }


def test_factors_to_rgb_are_those_of_the_code() -> None:
    rows = _rows(5)
    assert len(rows) == 12
    for (matrix, value_range, bit_depth), row in rows.items():
        factors = colour_factors(_colour(matrix, value_range), bit_depth)
        assert row == [factors.y_to_rgb, factors.cr_to_r, factors.cb_to_g, factors.cr_to_g, factors.cb_to_b]


def test_factors_from_rgb_are_those_of_the_code() -> None:
    rows = _rows(9)
    assert len(rows) == 12
    for (matrix, value_range, bit_depth), row in rows.items():
        factors = colour_factors(_colour(matrix, value_range), bit_depth)
        assert row == [*factors.rgb_to_y, *factors.rgb_to_cb, *factors.rgb_to_cr]
        # As the text says of grey pictures.
        assert sum(row[3:6]) == sum(row[6:9]) == 0


def test_profile_of_onnx_is_that_of_the_code() -> None:
    section = TEXT[TEXT.index("### 7.2") : TEXT.index("### 7.3")]
    named = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", section, re.MULTILINE)
    assert tuple(name.strip("`") for row in named for name in row.split(", ")) == OPERATORS
    for bound in (MOST_BYTES, MOST_NODES, MOST_CHANNELS, LARGEST_KERNEL, LARGEST_ENLARGEMENT, MOST_MULTIPLICATIONS):
        assert re.search(rf"\b{bound}\b", section)
    assert f"`ir_version` is {IR_VERSION}." in section
    assert f"one `opset_import`, version {OPSET} of the standard domain" in section


def test_golden_bundles_are_listed() -> None:
    section = TEXT[TEXT.index("| golden bundle |") : TEXT.index("### 10.1")]
    assert tuple(re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE)) == GOLDEN_NAMES


def test_names_of_primaries_and_transfers_are_those_of_the_code() -> None:
    section = TEXT[TEXT.index("### 6.4") : TEXT.index("## 7. ")]
    primaries, transfers = section.split("`transfer`: ")
    names = re.compile(r"`([\w-]+)` (\d+)")
    assert len(names.findall(primaries)) == 11
    assert len(names.findall(transfers)) == 16
    for name, code in names.findall(primaries):
        assert colour_codes(_colour("bt709", "full", primaries=name)).primaries == int(code)
    for name, code in names.findall(transfers):
        assert colour_codes(_colour("bt709", "full", transfer=name)).transfer == int(code)
    assert colour_codes(_colour("bt709", "full", primaries="novel")).primaries == 2


def test_example_of_the_patch_index_is_what_it_says() -> None:
    section = TEXT[TEXT.index("**Example.** 3 frames") :]
    numbers = [[int(n) for n in row.split()] for row in re.findall(r"^\| \d \| ([\d ]+) \|", section, re.MULTILINE)]
    segment = bytes.fromhex(re.search(r"^    (78 [0-9a-f ]+)$", section, re.MULTILINE)[1])  # type: ignore[index]
    assert len(segment) == 20
    np.testing.assert_array_equal(decode_segment(segment, frame_count=3, patch_count=6), numbers[:3])


def test_worked_example_is_the_golden_bundle() -> None:
    section = TEXT[TEXT.index("## 12. ") :].split("## 12. ", 2)[-1]
    with stdo.open_bundle(GOLDEN / "rgb") as bundle:
        golden, index = bundle.manifest, (GOLDEN / "rgb" / "index.bin").read_bytes()
        for segment in bundle.segments:
            assert segment.patch_index is not None
            stream, part = segment.base_stream, segment.patch_index
            row = f"| {segment.time_ticks} | {stream.offset}, {stream.byte_count} | `"
            assert row + index[part.offset : part.end].hex(" ") + "`" in section
            for frame, numbers in zip(bundle.segment_frames(segment), bundle.numbers(segment), strict=True):
                assert f"frame {frame}: {' '.join(map(str, numbers))}" in section
    expected = json.loads((GOLDEN / "rgb" / "expected.json").read_text(encoding="utf-8"))
    for number, frame in enumerate(expected):
        samples = frame["first_rgb_samples"]
        pixels = ", ".join(f"({' '.join(map(str, samples[start : start + 3]))})" for start in (0, 3, 6))
        assert f"| {number} | {frame['time']} s | {pixels} |" in section
        assert frame["rgb_sha256"] in section
    lr = next(decode_video(GOLDEN / "rgb" / "base.mp4"))
    for name, plane in (("Y", lr.y), ("U", lr.u), ("V", lr.v)):
        assert f"| {name} | {' '.join(map(str, plane[0, :3]))} | {' '.join(map(str, plane[1, :3]))} |" in section
    first = yuv_to_rgb(lr, golden.picture.colour)[:2, :3].tolist()
    rows = [", ".join(f"({' '.join(map(str, pixel))})" for pixel in row) for row in first]
    assert f"| R'G'B' | {rows[0]} | {rows[1]} |" in section


@pytest.mark.parametrize(
    "model",
    [
        model
        for model in vars(manifest).values()
        if isinstance(model, type) and issubclass(model, BaseModel) and model.__module__ == manifest.__name__
    ],
)
def test_every_field_is_described(model: type[BaseModel]) -> None:
    missing = [name for name in model.model_fields if f"`{name}`" not in TEXT]
    assert not missing
