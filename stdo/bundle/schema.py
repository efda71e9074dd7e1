"""Generate the manifest's JSON Schema: `python -m stdo.bundle.schema` writes stdo/bundle/manifest.schema.json."""

from __future__ import annotations

import json
from pathlib import Path

from stdo.bundle.manifest import FORMAT_VERSION, Manifest

SCHEMA_PATH = Path(__file__).with_name("manifest.schema.json")
SCHEMA_ID = f"urn:stdo:manifest:{FORMAT_VERSION}"


def manifest_schema() -> str:
    """The JSON Schema (draft 2020-12) of `manifest.json`, as the text of a file."""
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **Manifest.model_json_schema(),
        "title": "STDO bundle manifest",
    }
    return json.dumps(document, indent=2) + "\n"


if __name__ == "__main__":
    SCHEMA_PATH.write_text(manifest_schema(), encoding="utf-8")
