"""Bundles that pass `Bundle.verify`, since their files are those that the manifest promises, and yet are wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stdo.bundle.boxes import read_stream_ranges
from stdo.bundle.bundle import open_bundle
from stdo.bundle.playlist import media_playlist
from stdo.bundle.segments import ByteRange, Segment, encode_segment_table
from stdo.decoder.inspection import Finding, inspect_bundle
from tests.stdo.bundles import sharpening_network, stream_segments, write_small_bundle

_GOLDEN = Path(__file__).parents[1] / "golden"
_TURNED = np.array([0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30], ">i4").tobytes()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sound_seconds": 0.2, "channels": "luma", "scale": 3},
        {"sound_seconds": 0.2, "sound_encoder": "libmp3lame"},
        {"networks": [], "scale": 1},
        {"base_bit_depth": 10, "bit_depth": 10},
        {"base_bit_depth": 10},
        {"base_stream_options": {"bf": "2", "qp": "30"}, "times": [Fraction(n * n, 50) for n in range(1, 9)]},
    ],
    ids=["small", "sound", "mp3", "plain", "ten bits", "ten bits to eight", "b-frames"],
)
def test_nothing_is_found_in_a_right_bundle(tmp_path: Path, options: dict[str, Any]) -> None:
    folder = write_small_bundle(tmp_path, **options)
    frames: list[int] = []
    with open_bundle(folder) as bundle:
        assert list(inspect_bundle(bundle, frames.append)) == []
        assert frames[-1] == bundle.manifest.picture.frame_count


@pytest.mark.parametrize("manifest", sorted(_GOLDEN.glob("*/manifest.json")), ids=lambda path: path.parent.name)
def test_nothing_is_found_in_a_golden_bundle(manifest: Path) -> None:
    assert _findings(manifest) == []


@pytest.mark.parametrize(
    ("part", "values", "problems"),
    [
        ("base_stream", {"codec": "hevc"}, ["The codec is h264; the manifest says hevc."]),
        ("base_stream", {"bit_depth": 10}, ["Frames are yuv420p; the manifest says 10 bits, 4:2:0."]),
        (
            "base_stream",
            {"mime_type": 'video/mp4; codecs="avc1.640028"'},
            ['The MIME type is video/mp4; codecs="avc1.f4000a"; the manifest says video/mp4; codecs="avc1.640028".'],
        ),
        (
            "base_stream",
            {"audio_codec": "aac"},
            ["The sound is missing; the manifest says aac.", "The sound has no samples."],
        ),
        (
            "picture",
            {"display_width": 49, "base_width": 26},
            ["Frames have 24x16 pixels; the manifest says 26x16."],
        ),
        (
            "picture",
            {"duration_seconds": 0.16},
            ["Its last frame is shown 0.160000 seconds after the video's first; the video ends at 0.16."],
        ),
    ],
    ids=["codec", "depth", "mime type", "sound", "size", "duration"],
)
def test_the_stream_is_not_what_the_manifest_says(
    tmp_path: Path, part: str, values: dict[str, Any], problems: list[str]
) -> None:
    folder = write_small_bundle(tmp_path, networks=[])
    _change(folder, lambda manifest: manifest[part].update(values))
    if "duration_seconds" in values:
        _write_stream(folder, (folder / "base.mp4").read_bytes(), stream_segments(folder / "base.mp4"))
    findings = _findings(folder)
    assert [finding.problem for finding in findings] == problems
    assert findings[0].part.startswith("segment ")


def test_a_turned_picture_is_found(tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path, networks=[])
    data = (folder / "base.mp4").read_bytes()
    matrix = data.index(b"tkhd") + 44  # Version and flags, then times, identifier, layer and volume.
    data = data[:matrix] + _TURNED + data[matrix + len(_TURNED) :]
    _write_stream(folder, data, stream_segments(folder / "base.mp4"))
    assert [finding.problem for finding in _findings(folder)] == [
        "A display matrix asks players to turn or flip the picture (by -90 degrees)."
    ]


def test_a_key_frame_within_a_segment_is_found(tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path, networks=[])
    data = (folder / "base.mp4").read_bytes()
    first, second, third = stream_segments(folder / "base.mp4")
    start, end = first.base_stream.offset, second.base_stream.end
    joined = ByteRange(offset=start, byte_count=end - start, sha256=hashlib.sha256(data[start:end]).hexdigest())
    _write_stream(folder, data, [replace(first, base_stream=joined), third])
    problem = "A segment begins with a key frame and has no other; it isn't so at its frames [2]."
    assert _findings(folder) == [Finding(part="segment 0", problem=problem)]


def test_other_frames_than_the_table_says_are_found(tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path, networks=[])
    first, second, third = stream_segments(folder / "base.mp4")
    late = replace(second, first_frame=3, time_ticks=second.time_ticks + 1)
    _write_stream(folder, (folder / "base.mp4").read_bytes(), [first, late, third])
    tick = second.time_ticks
    assert _findings(folder) == [
        Finding(part="segment 0", problem="It has 2 frames; the segment table says 3."),
        Finding(part="segment 1", problem="It has 2 frames; the segment table says 1."),
        Finding(part="segment 1", problem=f"Its first frame is shown at {tick}; the segment table says {tick + 1}."),
    ]


def test_frames_that_can_not_be_decoded_are_found(tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path, networks=[], width=200, height=100)
    data = bytearray((folder / "base.mp4").read_bytes())
    part = stream_segments(folder / "base.mp4")[1].base_stream
    start = data.index(b"mdat", part.offset) + 4
    data[start : part.end] = bytes(part.end - start)
    segments = stream_segments(folder / "base.mp4")
    broken = replace(part, sha256=hashlib.sha256(data[part.offset : part.end]).hexdigest())
    segments[1] = replace(segments[1], base_stream=broken)
    _write_stream(folder, bytes(data), segments)
    findings = _findings(folder)
    assert findings
    assert {finding.part for finding in findings} == {"segment 1"}


def test_networks_that_do_not_open_or_answer_otherwise_are_found(tmp_path: Path) -> None:
    networks = [sharpening_network(2, "rgb", seed=1), sharpening_network(3, "rgb", seed=2), b"no network"]
    folder = write_small_bundle(tmp_path, networks=networks)
    findings = _findings(folder)
    assert [finding.part for finding in findings] == ["network 1", "network 2"]
    assert "where the format demands" in findings[0].problem


def _findings(folder: Path) -> list[Finding]:
    with open_bundle(folder) as bundle:
        assert [check.problem for check in bundle.verify() if check.problem] == []
        return list(inspect_bundle(bundle))


def _change(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    edit(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _write_stream(folder: Path, data: bytes, segments: Sequence[Segment]) -> None:
    """Another base stream or another table, with all that is said of them in playlist and manifest."""
    (folder / "base.mp4").write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    header = read_stream_ranges(folder / "base.mp4").header
    time_base = manifest["base_stream"]["time_base"]
    playlist = media_playlist(
        segments,
        header_byte_count=header.byte_count,
        time_base=Fraction(time_base["numerator"], time_base["denominator"]),
        duration_seconds=manifest["picture"]["duration_seconds"],
    )
    (folder / "segments.bin").write_bytes(encode_segment_table(segments))
    (folder / "base.m3u8").write_text(playlist)
    manifest["base_stream"]["header"] = {"byte_count": header.byte_count, "sha256": header.sha256}
    manifest["segments"]["segment_count"] = len(segments)
    for name in ("base_stream", "segments", "playlist"):
        content = (folder / manifest[name]["path"]).read_bytes()
        manifest[name] |= {"byte_count": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
