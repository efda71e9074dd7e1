"""What a reader refuses, and with which words."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from stdo.bundle.manifest_reader import MANIFEST_MAX_BYTES, parse_manifest
from stdo.errors import InvalidManifestError, NotAManifestError, UnsupportedCodingError, UnsupportedVersionError

Change = Callable[[dict[str, Any]], object]


def changed(manifest: bytes, change: Change) -> bytes:
    """A manifest with something changed."""
    document = json.loads(manifest)
    change(document)
    return json.dumps(document).encode()


def _set(*keys: str | int, value: object) -> Change:
    def change(document: Any) -> None:
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value

    return change


def _both(*changes: Change) -> Change:
    def change(document: dict[str, Any]) -> None:
        for one in changes:
            one(document)

    return change


def test_manifest_is_read(base_manifest: bytes) -> None:
    manifest = parse_manifest(base_manifest)
    assert manifest.picture.display_width == 45
    assert manifest.base_stream.time_base.fraction.denominator == 12_800
    assert manifest.networks[0].coding == "onnx"
    paths = ["segments.bin", "base.m3u8", "networks/0.onnx", "networks/1.onnx", "index.bin", "base.mp4"]
    assert [file.path for file in manifest.delivered_files()] == paths
    assert [file.path for file in manifest.all_files()] == [*paths, "quality/report.json"]


def test_later_minor_version_with_more_fields_is_read(base_manifest: bytes) -> None:
    def change(document: dict[str, Any]) -> None:
        document.update(format_version="1.7", novelty={"a": 1})
        document["networks"][0]["novelty"] = [1]

    assert parse_manifest(changed(base_manifest, change)).format_version == "1.7"


def test_fields_with_defaults_may_be_left_out(base_manifest: bytes) -> None:
    def change(document: dict[str, Any]) -> None:
        document["patch_index"].pop("coding", None)
        document["patch_grid"].pop("edge", None)
        for key in ("source", "quality", "provenance"):
            del document[key]
        for network in document["networks"]:
            network.pop("input_frames", None)

    manifest = parse_manifest(changed(base_manifest, change))
    assert manifest.networks[0].input_frames == (0,)
    assert manifest.patch_index is not None
    assert manifest.patch_index.coding == "delta-zlib"
    assert manifest.source is manifest.quality is manifest.provenance is None


def _for_people(document: dict[str, Any]) -> None:
    document["networks"][0].update(precision="int4", architecture="novel", parameter_count=0)
    document["networks"][0].update(multiply_accumulates_per_base_pixel=0)
    document["source"].update(rotation_degrees=45, container="novel", video_codec="novel", coded_width=-1)
    document["quality"].update(bit_depth=12, frames_measured=0)
    document["base_stream"].update(audio_codec="novel", lossless=True)
    document["picture"]["colour"].update(primaries="novel", transfer="novel")


def test_unknown_values_for_people_are_read(base_manifest: bytes) -> None:
    manifest = parse_manifest(changed(base_manifest, _for_people))
    assert manifest.networks[0].precision == "int4"
    assert manifest.source is not None
    assert manifest.source.rotation_degrees == 45


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON in UTF-8"),
        (b"\xff\xfe", "not JSON in UTF-8"),
        ("{}".encode("utf-16"), "not JSON in UTF-8"),
        (b"{" * 100_000, "not JSON in UTF-8"),
        (b"[" * 100_000, "not JSON in UTF-8"),
        (b"[]", "doesn't say"),
        (b"3", "doesn't say"),
        (b'{"format": "other"}', 'doesn\'t say "format": "stdo-bundle"'),
        (b" " * (MANIFEST_MAX_BYTES + 1), "it is too long"),
        (b'\xef\xbb\xbf{"format": "stdo-bundle"}', "begins with a byte order mark. Write it without one"),
    ],
    ids=["empty", "no text", "UTF-16", "deep", "deep list", "list", "number", "other format", "too long", "BOM"],
)
def test_what_is_no_manifest_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(NotAManifestError, match=f"no bundle manifest: .*{message}"):
        parse_manifest(data)


@pytest.mark.parametrize("version", ["2.0", "10.3", "9" * 5000 + ".0"])
def test_unknown_major_version_is_refused_before_anything_else(version: str) -> None:
    data = json.dumps({"format": "stdo-bundle", "format_version": version}).encode()
    with pytest.raises(UnsupportedVersionError, match=rf"format version {version[:18]}.*Update the stdo package"):
        parse_manifest(data)


def test_version_from_before_the_first_is_not_met_with_an_update() -> None:
    with pytest.raises(
        UnsupportedVersionError, match=r"format version 0\.9, which comes before .* made again"
    ) as raised:
        parse_manifest(b'{"format": "stdo-bundle", "format_version": "0.9"}')
    assert "Update" not in str(raised.value)


def _other_coding(document: dict[str, Any]) -> None:
    # A network in another coding may have other fields.
    document["networks"][1] = {"coding": "nnc", "path": "networks/1.nnc"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_other_coding, "Network 1 is written as 'nnc'; this reader knows onnx and general"),
        (_set("patch_index", "coding", value="arithmetic"), "patch index is written as 'arithmetic'"),
        (_set("networks", 1, "input_frames", value=[-1, 0, 1]), "restores from the frame itself only"),
    ],
    ids=["network", "patch index", "neighbouring frames"],
)
def test_unknown_coding_is_refused(change: Change, message: str, base_manifest: bytes) -> None:
    with pytest.raises(UnsupportedCodingError, match=message):
        parse_manifest(changed(base_manifest, change))


def test_long_value_is_not_shown_whole(base_manifest: bytes) -> None:
    change = _set("networks", 1, "input_frames", value=list(range(100_000)))
    with pytest.raises(UnsupportedCodingError) as raised:
        parse_manifest(changed(base_manifest, change))
    assert "reads the frames [0, 1, 2, 3," in str(raised.value)
    assert len(str(raised.value)) < 200


_GENERAL = _both(_set("networks", 0, "coding", value="general"), _set("networks", 0, "general_sha256", value="a" * 64))


def test_general_network_needs_no_file(base_manifest: bytes) -> None:
    manifest = parse_manifest(changed(base_manifest, _both(_GENERAL, _set("networks", 0, "file", value=None))))
    assert manifest.networks[0].general_sha256 == "a" * 64
    assert manifest.byte_counts(0)["networks"] == manifest.networks[1].file.byte_count  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("format_version", value="1"), "format_version is '1'"),
        (_set("format_version", value="1.\u0661"), "format_version is"),
        (_set("format_version", value=1.0), "format_version is 1.0"),
        (lambda document: document.pop("picture"), "picture: Field required"),
        (_set("picture", "display_width", value="45"), "picture.display_width"),
        (_set("picture", "display_width", value=49), "picture: base frames .* are 26x16"),
        (_set("picture", "base_height", value=18), "are 24x16"),
        (_set("picture", "base_width", value=2 * 10**400), "are 24x16"),
        (_set("picture", "average_frame_rate", "numerator", value=0), "average_frame_rate.numerator"),
        (_set("picture", "average_frame_rate", "denominator", value=2**31), "average_frame_rate.denominator"),
        (_set("picture", "duration_seconds", value=1e8), "picture.duration_seconds"),
        (_set("picture", "frame_count", value=2), "2 frames don't make 3 segments"),
        (_set("segments", "segment_count", value=2), "segments.byte_count: 2 segments take 200 bytes"),
        (_set("segments", "segment_count", value=2**20 + 1), "segments.segment_count"),
        (_set("base_stream", "time_base", "numerator", value=2), "time_base: the numerator is 1"),
        (_set("base_stream", "header", "byte_count", value=900_000), "nothing is left for the segments"),
        (_set("base_stream", "header", "byte_count", value=2**20 + 1), "base_stream.header.byte_count"),
        (_set("base_stream", "codec", value="vvc"), "vvc has no base stream of 8 bits"),
        (_set("base_stream", "mime_type", value="video/mp4"), "base_stream.mime_type"),
        (_set("patch_grid", "columns", value=2), "3 columns and 3 rows"),
        (_set("patch_grid", value=None), "patch_grid and patch_index: both are null"),
        (_set("patch_index", value=None), "patch_grid and patch_index: both are null"),
        (_set("networks", value=[]), "patch_grid and patch_index: both are null"),
        (_set("networks", 1, "channels", value="luma"), "read the same channels"),
        (_set("networks", 0, "file", "sha256", value="A" * 64), "networks.0.file.sha256"),
        (_set("networks", 0, "file", value=None), "networks.0: file is null, which coding general alone"),
        (_set("networks", 0, "general_sha256", value="a" * 64), "networks.0: general_sha256 belongs to"),
        (_set("networks", 0, "coding", value="general"), "networks.0: coding general needs general_sha256"),
        (_GENERAL, "networks.0: the copy of the general network has another SHA-256"),
        (_set("networks", 0, "coding", value=None), "networks.0.coding"),
        (_set("networks", 1, "file", "path", value="networks/0.onnx"), "two files have the same path"),
        (_set("playlist", "path", value="manifest.json"), "two files have the same path"),
        (_set("created_at", value="2026-01-01T00:00:00"), "created_at"),
    ],
)
def test_broken_rule_is_named(change: Change, message: str, base_manifest: bytes) -> None:
    with pytest.raises(InvalidManifestError, match=message) as raised:
        parse_manifest(changed(base_manifest, change))
    assert ": :" not in str(raised.value)


@pytest.mark.parametrize("odd", ["patch_width", "patch_height", "halo"])
def test_yuv_networks_need_even_sizes(odd: str, base_manifest: bytes) -> None:
    def change(document: dict[str, Any]) -> None:
        for network in document["networks"]:
            network["channels"] = "yuv"
        sizes = {"patch_width": 8, "patch_height": 8, "columns": 3, "rows": 2, "halo": 2}
        document["patch_grid"].update(sizes)

    even = changed(base_manifest, change)
    assert parse_manifest(even).networks[0].channels == "yuv"
    values = {"patch_width": {"patch_width": 9}, "patch_height": {"patch_height": 9}, "halo": {"halo": 1}}[odd]
    with pytest.raises(InvalidManifestError, match="patch_width, patch_height and halo are even"):
        parse_manifest(changed(even, lambda document: document["patch_grid"].update(values)))


@pytest.mark.parametrize(
    "place",
    [
        ("picture", "scale"),
        ("picture", "bit_depth"),
        ("picture", "colour", "matrix"),
        ("picture", "colour", "range"),
        ("patch_grid", "edge"),
        ("networks", 0, "channels"),
        ("base_stream", "codec"),
        ("base_stream", "bit_depth"),
    ],
)
def test_unknown_value_of_what_restoring_depends_on_is_refused(
    place: tuple[str | int, ...], base_manifest: bytes
) -> None:
    field = r"\.".join(str(part) for part in place)
    with pytest.raises(UnsupportedCodingError, match=rf"{field}: .*Update the stdo package"):
        parse_manifest(changed(base_manifest, _set(*place, value="novelty")))


@pytest.mark.parametrize("place", [("picture", "scale"), ("picture", "bit_depth"), ("base_stream", "bit_depth")])
@pytest.mark.parametrize("kind", [bool, float])
def test_choice_of_whole_numbers_takes_no_other_kind_of_number(
    kind: type, place: tuple[str, str], base_manifest: bytes
) -> None:
    number = json.loads(base_manifest)[place[0]][place[1]]
    with pytest.raises(InvalidManifestError, match=rf"{place[0]}\.{place[1]}: Input should be a whole number"):
        parse_manifest(changed(base_manifest, _set(*place, value=kind(number))))


@pytest.mark.parametrize(
    "path",
    [
        "../base.mp4",
        "a/../../b",
        "/etc/passwd",
        "a//b",
        ".hidden",
        "a/.b",
        "a/",
        "",
        "C:\\a",
        "a\\b",
        "http://host/a",
        "a b",
        "a\n",
        "ä",
        "a" * 256,
    ],
)
def test_path_that_could_leave_the_folder_is_refused(path: str, base_manifest: bytes) -> None:
    with pytest.raises(InvalidManifestError, match=r"base_stream\.path"):
        parse_manifest(changed(base_manifest, _set("base_stream", "path", value=path)))


@pytest.mark.parametrize("number", ["1e999", "NaN", "-Infinity"])
def test_numbers_that_are_none_are_refused(number: str, base_manifest: bytes) -> None:
    data = base_manifest.replace(b'"duration_seconds":0.2', f'"duration_seconds":{number}'.encode())
    assert data != base_manifest
    with pytest.raises((InvalidManifestError, NotAManifestError)):
        parse_manifest(data)


def test_many_faults_are_counted_not_listed(base_manifest: bytes) -> None:
    def change(document: dict[str, Any]) -> None:
        for key in ("picture", "patch_grid", "base_stream", "networks", "patch_index", "segments", "playlist"):
            del document[key]

    with pytest.raises(InvalidManifestError, match="; and 2 more") as raised:
        parse_manifest(changed(base_manifest, change))
    assert str(raised.value).count("Field required") == 5
