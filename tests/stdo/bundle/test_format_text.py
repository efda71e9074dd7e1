"""docs/FORMAT.md says of files, manifest, segments, playlist and ladder what the code does."""

from __future__ import annotations

import json
import re
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest
from pydantic import BaseModel

from stdo.bundle import fields, ladder, manifest, manifest_reader
from stdo.bundle.codecs import CODECS
from stdo.bundle.mime import _AUDIO_CODECS
from stdo.bundle.playlist import media_playlist
from stdo.bundle.schema import SCHEMA_ID
from stdo.bundle.segments import SEGMENT_MAX_NUMBERS, ByteRange, Segment, encode_segment_table
from tests.stdo.bundle.test_segments import make_segments
from tests.stdo.bundles import write_small_bundle

TEXT = (Path(__file__).parents[3] / "docs" / "FORMAT.md").read_text(encoding="utf-8")


def _section(start: str, end: str) -> str:
    begin = TEXT.index(start)
    return TEXT[begin : TEXT.index(end, begin)]


@pytest.mark.parametrize("module", [fields, manifest, ladder])
def test_every_field_is_described(module: object) -> None:
    models = [
        model
        for model in vars(module).values()
        if isinstance(model, type) and issubclass(model, BaseModel) and model.__module__ == module.__name__  # type: ignore[attr-defined]
    ]
    # Section 11 describes what `quality` holds.
    described = _section("### 3.2", "### 3.3") + _section("## 11. ", "## 12. ")
    if module is ladder:
        described = TEXT[TEXT.index("## 13. A ladder\n") :]
    missing = [name for model in models for name in model.model_fields if f"`{name}`" not in described]
    assert len(models) >= 2
    assert not missing


def test_bounds_are_those_of_the_code() -> None:
    section = _section("## 3. The manifest\n", "## 4. Geometry\n")
    bounds = (
        manifest_reader.MANIFEST_MAX_BYTES,
        fields.LARGEST_RATIONAL_PART,
        round(fields.LONGEST_SECONDS),
        fields.MOST_SEGMENTS,
        fields.LARGEST_HEADER_BYTES,
        2**53 - 1,
    )
    assert [bound for bound in bounds if not re.search(rf"\b{bound}\b", section)] == []
    assert f" {SEGMENT_MAX_NUMBERS}." in _section("### 5.4", "### 5.5")
    assert f"`{SCHEMA_ID}`" in section
    assert f"version {manifest.FORMAT_VERSION}\n" in TEXT


def test_fields_that_make_a_reader_refuse_are_those_of_the_code() -> None:
    (sentence,) = re.findall(r"any field that restoring depends on: (.*?)\.\n", TEXT, re.DOTALL)
    named = set(re.findall(r"`(\w+)`", sentence))
    assert named == {*manifest_reader._FIELDS_OF_KNOWN_VALUES, "coding", "input_frames"}


def test_codecs_are_those_of_the_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\w.]+) \| `(\w{4})` \| ([\d or]+) \|", TEXT, re.MULTILINE)
    assert [name for name, *_ in rows] == list(CODECS)
    for name, title, entry, depths in rows:
        codec = CODECS[name]  # type: ignore[index]
        assert (title, entry) == (codec.title, codec.sample_entry)
        assert tuple(map(int, depths.split(" or "))) == tuple(sorted(codec.bit_depths))
    assert len(_AUDIO_CODECS) + 1 == len(re.split(", | or ", "AAC, Opus, MP3, FLAC, ALAC, AC-3 or E-AC-3"))
    assert "Sound is AAC, Opus, MP3, FLAC,\nALAC, AC-3 or E-AC-3." in TEXT


def test_record_of_the_segment_table_is_what_the_code_writes() -> None:
    lines = re.findall(r"^    ([0-9a-f]{2} .*)$", _section("### 5.4", "### 5.5"), re.MULTILINE)
    text = re.sub(r"(\w\w) \(32 times\)", lambda match: " ".join([match[1]] * 32), " ".join(lines))
    second = Segment(
        first_frame=125,
        time_ticks=64_000,
        base_stream=ByteRange(offset=6000, byte_count=3000, sha256="11" * 32),
        patch_index=ByteRange(offset=70, byte_count=50, sha256="22" * 32),
    )
    assert bytes.fromhex(text) == encode_segment_table([second])


def test_playlist_is_what_the_code_writes() -> None:
    first, second, third = make_segments()
    segments = [
        Segment(first_frame=0, time_ticks=0, base_stream=first.base_stream, patch_index=None),
        Segment(first_frame=125, time_ticks=64_000, base_stream=second.base_stream, patch_index=None),
        Segment(
            first_frame=245,
            time_ticks=125_440,
            base_stream=ByteRange(offset=9000, byte_count=900, sha256=third.base_stream.sha256),
            patch_index=None,
        ),
    ]
    written = media_playlist(
        segments, header_byte_count=1000, time_base=Fraction(1, 12_800), duration_seconds=Fraction(285, 25)
    )
    lines = re.findall(r"^    (.*)$", _section("### 5.6", "## 6. "), re.MULTILINE)
    assert lines == written.splitlines()


def test_commands_for_ffmpeg_give_planes_and_times(tmp_path: Path) -> None:
    times = [Fraction(tick, 12_800) for tick in (700, 1212, 1800, 2748)]
    folder = write_small_bundle(
        tmp_path / "bundle", times=times, base_bit_depth=10, segment_starts=(0, 3), sound_seconds=0.1
    )
    commands = re.findall(r"^    ffmpeg (.*)$", _section("### 5.5", "### 5.6"), re.MULTILINE)
    planes, stamps = (
        subprocess.run(
            [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *command.split()],
            cwd=folder,
            check=True,
            timeout=60,
            capture_output=True,
        ).stdout
        for command in commands
    )
    with av.open(str(folder / "base.mp4")) as video:
        frames = list(video.decode(video=0))
    expected = np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])
    np.testing.assert_array_equal(np.frombuffer(planes, "<u2"), expected)
    rows = [line.split(",") for line in stamps.decode().splitlines() if not line.startswith("#")]
    assert [int(row[2]) for row in rows] == [700, 1212, 1800, 2748] == [frame.pts for frame in frames]


def test_schema_lies_where_the_text_says() -> None:
    (link,) = re.findall(r"\[`stdo/bundle/manifest\.schema\.json`\]\((.*?)\)", TEXT)
    schema = Path(__file__).parents[3] / "docs" / link
    assert json.loads(schema.read_text(encoding="utf-8"))["$id"] == SCHEMA_ID
