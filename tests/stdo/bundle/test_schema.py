"""The committed JSON Schema is current, and says what the library says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from stdo.bundle.manifest import strip_manifest
from stdo.bundle.manifest_reader import parse_manifest
from stdo.bundle.schema import SCHEMA_PATH, manifest_schema
from tests.stdo.bundle.test_manifest_reader import _for_people, changed


def test_committed_schema_is_current() -> None:
    assert SCHEMA_PATH.read_text(encoding="utf-8") == manifest_schema(), "run `make schema`"


def _validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(manifest_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_manifests_follow_the_schema(base_manifest: bytes) -> None:
    _validator().validate(json.loads(base_manifest))
    _validator().validate(json.loads(strip_manifest(parse_manifest(base_manifest))))
    _validator().validate(json.loads(changed(base_manifest, _for_people)))


def test_schema_is_known_by_a_name_without_a_host() -> None:
    assert json.loads(manifest_schema())["$id"] == "urn:stdo:manifest:1.0"


def _objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object that the schema describes."""
    document = json.loads(schema)
    yield document
    yield from (entry for entry in document["$defs"].values() if entry.get("type") == "object")


def test_no_required_field_has_a_default() -> None:
    for entry in _objects(manifest_schema()):
        for name, field in entry["properties"].items():
            assert ("default" in field) == (name not in entry["required"]), name


def test_values_are_listed_where_restoring_depends_on_them_alone() -> None:
    listed = {
        name
        for entry in _objects(manifest_schema())
        for name, field in entry["properties"].items()
        if "enum" in field or "const" in field
    }
    assert listed == {"bit_depth", "channels", "codec", "edge", "format", "matrix", "range", "scale"}


@pytest.mark.parametrize(
    "field", ["format", "format_version", "picture", "base_stream", "segments", "playlist", "networks", "patch_index"]
)
def test_schema_demands_the_field(field: str, base_manifest: bytes) -> None:
    document = json.loads(base_manifest)
    del document[field]
    errors = [error.message for error in _validator().iter_errors(document)]
    assert errors == [f"'{field}' is a required property"]


@pytest.mark.parametrize("path", ["../a", "/a", "a/../b", ".a"])
def test_schema_refuses_paths_that_leave_the_folder(path: str, base_manifest: bytes) -> None:
    document = json.loads(base_manifest)
    document["base_stream"]["path"] = path
    assert not _validator().is_valid(document)
