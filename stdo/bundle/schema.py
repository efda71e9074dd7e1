"""Generate the manifest's JSON Schema: `python -m stdo.bundle.schema` writes stdo/bundle/manifest.schema.json."""

from __future__ import annotations

import json
from pathlib import Path

from stdo.bundle.manifest import Manifest

SCHEMA_PATH = Path(__file__).with_name("manifest.schema.json")


def manifest_schema() -> str:
    """The JSON Schema (draft 2020-12) of `manifest.json`, as the text of a file."""
    schema = Manifest.model_json_schema()
    # They have a value of their own in this library, and yet every manifest states them.
    schema["required"] = ["format", "format_version", *schema["required"]]
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "STDO bundle manifest"}
    return json.dumps(document, indent=2) + "\n"


if __name__ == "__main__":
    SCHEMA_PATH.write_text(manifest_schema(), encoding="utf-8")
