"""The committed JSON Schema is current, and says what the library says."""

from __future__ import annotations

import json

import jsonschema
import pytest

from stdo.bundle.schema import SCHEMA_PATH, manifest_schema
from tests.stdo.make_golden import GOLDEN


def test_committed_schema_is_current() -> None:
    assert SCHEMA_PATH.read_text(encoding="utf-8") == manifest_schema(), "run `make schema`"


def _validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(manifest_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", ["rgb", "luma"])
def test_golden_manifest_follows_the_schema(name: str) -> None:
    _validator().validate(json.loads((GOLDEN / name / "manifest.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize("field", ["format", "format_version", "picture", "networks", "patch_index"])
def test_schema_demands_the_field(field: str) -> None:
    document = json.loads((GOLDEN / "rgb" / "manifest.json").read_text(encoding="utf-8"))
    del document[field]
    errors = [error.message for error in _validator().iter_errors(document)]
    assert errors == [f"'{field}' is a required property"]


@pytest.mark.parametrize("path", ["../a", "/a", "a/../b", ".a"])
def test_schema_refuses_paths_that_leave_the_folder(path: str) -> None:
    document = json.loads((GOLDEN / "rgb" / "manifest.json").read_text(encoding="utf-8"))
    document["base_stream"]["path"] = path
    assert not _validator().is_valid(document)
