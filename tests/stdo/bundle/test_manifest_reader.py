"""What a reader refuses, and with which words."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from stdo.bundle.manifest_reader import MANIFEST_MAX_BYTES, parse_manifest
from stdo.errors import InvalidManifestError, NotAManifestError, UnsupportedCodingError, UnsupportedVersionError
from tests.stdo.make_golden import GOLDEN

Change = Callable[[dict[str, Any]], object]


def _changed(change: Change) -> bytes:
    document = json.loads((GOLDEN / "rgb" / "manifest.json").read_text(encoding="utf-8"))
    change(document)
    return json.dumps(document).encode()


def test_manifest_is_read() -> None:
    manifest = parse_manifest(_changed(lambda _: None))
    assert manifest.picture.display_width == 37
    assert manifest.networks[0].coding == "onnx"
    assert [file.path for file in manifest.delivered_files()] == [
        "base.mp4",
        "networks/0.onnx",
        "networks/1.onnx",
        "networks/2.onnx",
        "patch_index/00000.bin",
        "patch_index/00001.bin",
    ]


def test_later_minor_version_with_more_fields_is_read() -> None:
    def change(document: dict[str, Any]) -> None:
        document.update(format_version="1.7", novelty={"a": 1})
        document["networks"][0]["novelty"] = [1]

    assert parse_manifest(_changed(change)).format_version == "1.7"


def test_fields_with_defaults_may_be_left_out() -> None:
    def change(document: dict[str, Any]) -> None:
        del document["patch_index"]["coding"]
        del document["patch_grid"]["edge"]
        for network in document["networks"]:
            del network["coding"], network["input_frames"]

    manifest = parse_manifest(_changed(change))
    assert manifest.networks[0].input_frames == (0,)
    assert manifest.patch_index.coding == "delta-zlib"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"3",
        b'{"format": "other"}',
        b"{" * 100_000,
        b"[" * 100_000,
        b" " * (MANIFEST_MAX_BYTES + 1),
    ],
    ids=["empty", "no text", "a list", "a number", "another format", "deep", "deep list", "too large"],
)
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(NotAManifestError, match="no bundle manifest"):
        parse_manifest(data)


@pytest.mark.parametrize("version", ["2.0", "10.3", "9" * 5000 + ".0"])
def test_unknown_major_version_is_refused_before_anything_else(version: str) -> None:
    data = json.dumps({"format": "stdo-bundle", "format_version": version}).encode()
    with pytest.raises(UnsupportedVersionError, match=rf"format version {version[:18]}.*Update the stdo package"):
        parse_manifest(data)


def _set_coding(document: dict[str, Any]) -> None:
    # A network in another coding may have other fields.
    document["networks"][1] = {"coding": "nnc", "path": "networks/1.nnc"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set_coding, "Network 1 is written as 'nnc'"),
        (
            lambda document: document["patch_index"].update(coding="arithmetic"),
            "patch index is written as 'arithmetic'",
        ),
        (
            lambda document: document["networks"][2].update(input_frames=[-1, 0, 1]),
            "restores from the frame itself only",
        ),
    ],
    ids=["weights", "patch index", "neighbouring frames"],
)
def test_unknown_coding_is_refused(change: Change, message: str) -> None:
    with pytest.raises(UnsupportedCodingError, match=message):
        parse_manifest(_changed(change))


def _set(*keys: str | int, value: object) -> Change:
    def change(document: Any) -> None:
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("format_version", value="1"), "format_version is '1'"),
        (_set("format_version", value=1.0), "format_version is 1.0"),
        (lambda document: document.pop("picture"), "picture: Field required"),
        (_set("picture", "display_width", value="37"), "picture.display_width"),
        (_set("picture", "display_width", value=41), "picture: the low-resolution size .* is 22x12"),
        (_set("picture", "base_height", value=14), "is 20x12"),
        (_set("picture", "average_frame_rate", "numerator", value=0), "average_frame_rate.numerator"),
        (_set("patch_grid", "columns", value=2), "3 columns and 3 rows"),
        (_set("picture", "base_width", value=2 * 10**400), "is 20x12"),
        (_set("networks", value=[]), "networks"),
        (_set("networks", 1, "channels", value="luma"), "read the same channels"),
        (_set("networks", 0, "sha256", value="A" * 64), "networks.0.sha256"),
        (_set("patch_index", "segments", 1, "first_frame", value=3), "starts at frame 3, not 2"),
        (_set("patch_index", "segments", 1, "frame_count", value=3), "end at frame 5 of 4"),
        (_set("patch_index", "segments", value=[]), "end at frame 0 of 4"),
        (_set("networks", 1, "path", value="networks/0.onnx"), "two files have the same path"),
        (_set("networks", 1, "path", value="manifest.json"), "two files have the same path"),
        (_set("created_at", value="2026-01-01T00:00:00"), "created_at"),
    ],
)
def test_broken_rule_is_named(change: Change, message: str) -> None:
    with pytest.raises(InvalidManifestError, match=message):
        parse_manifest(_changed(change))


@pytest.mark.parametrize(
    "place",
    [
        ("picture", "scale"),
        ("picture", "colour", "matrix"),
        ("picture", "colour", "range"),
        ("patch_grid", "edge"),
        ("networks", 0, "channels"),
        ("base_stream", "codec"),
    ],
)
def test_unknown_value_of_what_restoring_depends_on_is_refused(place: tuple[str | int, ...]) -> None:
    field = r"\.".join(str(part) for part in place)
    with pytest.raises(UnsupportedCodingError, match=rf"{field}: .*Update the stdo package"):
        parse_manifest(_changed(_set(*place, value="novelty")))


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
def test_path_that_could_leave_the_folder_is_refused(path: str) -> None:
    with pytest.raises(InvalidManifestError, match=r"base_stream\.path"):
        parse_manifest(_changed(_set("base_stream", "path", value=path)))


def test_huge_segment_is_refused() -> None:
    def change(document: dict[str, Any]) -> None:
        document["picture"]["frame_count"] = 10_000_000
        document["patch_index"]["segments"] = [
            {**document["patch_index"]["segments"][0], "first_frame": 0, "frame_count": 10_000_000}
        ]

    with pytest.raises(InvalidManifestError, match="holds more than 67108864 numbers"):
        parse_manifest(_changed(change))


def test_many_faults_are_counted_not_listed() -> None:
    def change(document: dict[str, Any]) -> None:
        for key in ("source", "picture", "patch_grid", "base_stream", "networks", "patch_index", "quality"):
            del document[key]

    with pytest.raises(InvalidManifestError, match="; and 2 more") as raised:
        parse_manifest(_changed(change))
    assert str(raised.value).count("Field required") == 5
