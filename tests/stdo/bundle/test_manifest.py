"""Manifests are written compactly, and without what viewers don't need."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stdo.bundle.manifest import manifest_bytes, strip_manifest
from stdo.bundle.manifest_reader import parse_manifest
from tests.stdo.bundles import write_small_bundle


def test_what_is_written_is_read_again(base_manifest: bytes) -> None:
    manifest = parse_manifest(base_manifest)
    data = manifest_bytes(manifest)
    assert data == base_manifest
    assert parse_manifest(data) == manifest
    assert b"\n" not in data
    document = json.loads(data)
    # Fields with their default are left out, those without stay.
    assert "input_frames" not in document["networks"][0]
    assert document["networks"][0]["file"]["path"] == "networks/0.onnx"


def test_stripped_manifest_says_the_rest(base_manifest: bytes) -> None:
    manifest = parse_manifest(base_manifest)
    document = json.loads(strip_manifest(manifest))
    whole = json.loads(base_manifest)
    assert document == {key: whole[key] for key in whole if key not in ("source", "quality", "provenance")}
    assert parse_manifest(strip_manifest(manifest)).delivered_files() == manifest.delivered_files()


@pytest.mark.parametrize("sound_seconds", [0, 0.2])
def test_stripped_manifest_of_a_plain_stream_is_short(sound_seconds: float, tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path / "plain", networks=[], sound_seconds=sound_seconds)
    manifest = parse_manifest((folder / "manifest.json").read_bytes())
    stripped = strip_manifest(manifest)
    assert len(stripped) < 1300
    document = json.loads(stripped)
    assert document["networks"] == []
    assert document["patch_grid"] is document["patch_index"] is None
