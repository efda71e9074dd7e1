"""What several routes document alike: errors, files, and the forms that `app.uploads.receive` reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.http import problems
from app.http.problems import ProblemError, invalid_field
from app.openapi.documentation import ENCODING_SETTINGS_SCHEMA, NOT_MODIFIED, answer, document
from app.openapi.examples import JOB_ID, VIDEO_ID
from app.uploads.job_requests import JobRequest
from core.errors import (
    DatabaseUnavailableError,
    IdempotencyKeyReusedError,
    InvalidApiKeyError,
    JobNotFoundError,
    RequestAnsweredMeanwhileError,
    VideoNotFoundError,
)

OPEN_PROBLEMS = document(
    ProblemError(problems.FOREIGN_ORIGIN, "This service runs without API keys, and so answers only to localhost."),
    invalid_field("query.limit", "Input should be less than or equal to 100"),
    ProblemError(problems.INTERNAL_ERROR, "Its log has the reason under the id 0b1c2d3e4f5a4b6c8d9e0f1a2b3c4d5e."),
)
"""What a route that needs no API key may answer."""
COMMON_PROBLEMS = {
    **OPEN_PROBLEMS,
    **document(
        ProblemError(problems.MISSING_API_KEY, "Send an API key as `Authorization: Bearer <key>`."),
        InvalidApiKeyError(),
        DatabaseUnavailableError("The database does not answer. Try again in a few seconds."),
    ),
}
"""What any other route may answer."""

REPEAT_PROBLEMS = (
    IdempotencyKeyReusedError("2f6b1c9e-upload-7"),
    RequestAnsweredMeanwhileError("2f6b1c9e-upload-7"),
)
UPLOAD_PROBLEMS = (
    ProblemError(problems.MALFORMED_MULTIPART, "The body ends before its closing boundary."),
    ProblemError(problems.UPLOAD_STALLED, "Nothing came for 60 seconds. Send the file again."),
    ProblemError(problems.CONTENT_TOO_LARGE, "The file may have at most 21474836480 bytes."),
    ProblemError(problems.UNSUPPORTED_MEDIA_TYPE, "Send multipart/form-data with the video in the part `file`."),
    invalid_field("file", "required: the video itself"),
    ProblemError(problems.STORAGE_FULL, "The service has no room left for this file."),
    *REPEAT_PROBLEMS,
)
INVALID_SETTING = invalid_field("settings.training.steps", "Input should be greater than or equal to 1")
VIDEO_NOT_FOUND = VideoNotFoundError(VIDEO_ID)
JOB_NOT_FOUND = JobNotFoundError(JOB_ID)

_FILE = {
    "type": "string",
    "format": "binary",
    "minLength": 1,
    "description": "The video: MP4, MOV, Matroska or WebM. Streamed to storage.",
}


def file_responses(*content_types: str) -> dict[int | str, dict[str, Any]]:
    """What a route that serves a file may answer."""
    headers = ("ETag", "Cache-Control")
    binary = {"schema": {"type": "string", "format": "binary"}, "example": "its bytes"}
    content: dict[str, Any] = dict.fromkeys(content_types, binary)
    part = answer("The part that `Range` names.", headers=("Content-Range", *headers))
    return {
        200: {
            **answer("The file. `ETag` is its SHA-256.", headers=headers),
            "content": {kind: {"schema": {"type": "object"}} if "json" in kind else binary for kind in content_types},
        },
        206: {**part, "content": content},
        304: dict(NOT_MODIFIED),
        **document(ProblemError(problems.RANGE_NOT_SATISFIABLE, "The file has 310000 bytes.")),
    }


def _form(fields: Mapping[str, Any], *, example: Mapping[str, Any], **encoding: Any) -> dict[str, Any]:
    schema = {
        "type": "object",
        "required": ["file"],
        "properties": {"file": _FILE, **fields},
        "additionalProperties": False,
    }
    content = {"schema": schema, "example": {"file": "the bytes of video.mp4", **example}, **encoding}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": content}}}


VIDEO_FORM = _form({}, example={})
JOB_FORM = _form(
    {
        "preset": JobRequest.model_json_schema()["properties"]["preset"],
        "settings": {
            **ENCODING_SETTINGS_SCHEMA,
            "description": "A JSON object of the settings that differ from the preset's.",
        },
    },
    example={"preset": "fast", "settings": {"scale": 3, "training": {"steps": 2000}}},
    encoding={"settings": {"contentType": "application/json"}},
)
