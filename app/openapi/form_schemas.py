"""The multipart forms as the OpenAPI document tells them: their bodies are read by `app.uploads.receive`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.openapi.documentation import ENCODING_SETTINGS_SCHEMA
from app.uploads.job_requests import DEFAULT_PRESET
from core.presets import PRESETS

_FILE = {
    "type": "string",
    "format": "binary",
    "minLength": 1,
    "description": "The video: MP4, MOV, Matroska or WebM. Streamed to storage.",
}


def _form(properties: Mapping[str, Any], *, example: Mapping[str, Any], **encoding: Any) -> dict[str, Any]:
    schema = {"type": "object", "required": ["file"], "properties": properties, "additionalProperties": False}
    content = {"schema": schema, "example": example, **encoding}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": content}}}


VIDEO_FORM = _form({"file": _FILE}, example={"file": "the bytes of video.mp4"})

JOB_FORM = _form(
    {
        "file": _FILE,
        "preset": {
            "type": "string",
            "enum": [recipe.name for recipe in PRESETS],
            "default": DEFAULT_PRESET,
            "description": "A named recipe.",
        },
        "settings": {
            **ENCODING_SETTINGS_SCHEMA,
            "description": "A JSON object of the settings that differ from the preset's.",
        },
    },
    example={"file": "the bytes of video.mp4", "preset": "fast", "settings": {"scale": 3, "training": {"steps": 2000}}},
    encoding={"settings": {"contentType": "application/json"}},
)
