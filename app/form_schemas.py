"""The multipart forms as the OpenAPI document tells them: their bodies are read by `app.uploads`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.documentation import ENCODING_SETTINGS_SCHEMA
from app.job_requests import DEFAULT_PRESET
from core.recipes import RECIPES

_FILE = {
    "type": "string",
    "format": "binary",
    "minLength": 1,
    "description": "The video: MP4, MOV, Matroska or WebM. Streamed to storage.",
}


def _form(properties: Mapping[str, Any], encoding: Mapping[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "required": ["file"], "properties": properties, "additionalProperties": False}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema, **encoding}}}}


VIDEO_FORM = _form({"file": _FILE}, {})

JOB_FORM = _form(
    {
        "file": _FILE,
        "preset": {
            "type": "string",
            "enum": [recipe.name for recipe in RECIPES],
            "default": DEFAULT_PRESET,
            "description": "A named recipe.",
        },
        "settings": {
            **ENCODING_SETTINGS_SCHEMA,
            "description": "A JSON object of the settings that differ from the preset's.",
        },
    },
    {"encoding": {"settings": {"contentType": "application/json"}}},
)
