"""The OpenAPI document: what FastAPI can't tell by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.http.problems import PROBLEM_MEDIA_TYPE, ProblemError, problem_of
from app.openapi.examples import RESPONSES
from core.encoding_settings import EncodingSettings
from core.errors import ServiceError
from stdo.service.resources import JobEvent, Problem

SCHEMA_REFERENCE = "#/components/schemas/{model}"
ENCODING_SETTINGS_SCHEMA: Mapping[str, str] = {"$ref": SCHEMA_REFERENCE.format(model="EncodingSettings")}
TITLE = "STDO encoding service"
VERSION = "1"
DESCRIPTION = """\
Turns a video into a **bundle**: a base stream that any player plays, a few small networks that were trained on this
one video, and an index that says which network restores which patch of which frame.

1. `POST /v1/jobs` with the video, or `POST /v1/videos` and then `POST /v1/videos/{video_id}/jobs`.
2. Poll `GET /v1/jobs/{job_id}`, or listen to `GET /v1/jobs/{job_id}/events`.
3. Fetch `GET /v1/jobs/{job_id}/bundle/manifest.json` and the files that it names.

Every error is `application/problem+json` (RFC 9457) with a stable `type`; `errors` names the fields that are wrong.
"""
HEADERS: Mapping[str, str] = {
    "Location": "Address of what was made, or of where the file lies.",
    "ETag": "Version of the resource, for `If-None-Match` and `If-Range`.",
    "Retry-After": "Seconds after which it is worth asking again; absent once nothing will change any more.",
    "Cache-Control": "How long a copy may be used without asking.",
    "Content-Range": "Which bytes of how many these are.",
}
TAGS = (
    {"name": "jobs", "description": "Encodes: start, follow, cancel, delete."},
    {"name": "videos", "description": "Uploaded videos, and what a probe found in them."},
    {"name": "bundles", "description": "The files of a finished job."},
    {"name": "presets", "description": "Settings with a name."},
    {"name": "networks", "description": "The general networks, which bundles name and do not carry."},
    {"name": "health", "description": "For supervisors and load balancers."},
)


def document(*errors: ServiceError | ProblemError) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's `responses` for errors that a route may answer with, each shown as an example."""
    responses: dict[int | str, dict[str, Any]] = {}
    for error in errors:
        problem = problem_of(error)
        response = responses.setdefault(
            problem.status,
            {
                "description": "",
                "content": {
                    PROBLEM_MEDIA_TYPE: {"schema": {"$ref": SCHEMA_REFERENCE.format(model="Problem")}, "examples": {}}
                },
            },
        )
        response["description"] = f"{response['description']} {problem.title}.".strip()
        response["content"][PROBLEM_MEDIA_TYPE]["examples"][problem.type.rsplit("/", 1)[-1]] = {
            "summary": problem.title,
            "value": problem.model_dump(mode="json", exclude_none=True),
        }
    return responses


def answer(description: str, *, headers: Sequence[str] = ()) -> dict[str, Any]:
    """OpenAPI's entry for a successful response. An example is in `app.openapi.examples`."""
    return {"description": description, "headers": describe_headers(*headers)}


def describe_headers(*names: str) -> dict[str, Any]:
    """OpenAPI's entry for response headers."""
    return {name: {"description": HEADERS[name], "schema": {"type": "string"}} for name in names}


NOT_MODIFIED: Mapping[str, Any] = {
    "description": "It is what `If-None-Match` names.",
    "headers": describe_headers("ETag", "Cache-Control"),
}


def build_openapi(app: FastAPI, *, keys_required: bool) -> dict[str, Any]:
    """The document: FastAPI's own, the schemas that it can't see, and whether a key is needed or merely allowed."""
    openapi = get_openapi(title=TITLE, version=VERSION, description=DESCRIPTION, tags=list(TAGS), routes=app.routes)
    _add_schemas(openapi["components"]["schemas"])
    operations = [operation for path in openapi["paths"].values() for operation in path.values()]
    _add_examples({operation["operationId"]: operation["responses"] for operation in operations})
    if not keys_required:
        for operation in operations:
            if "security" in operation:
                # An empty requirement beside the other makes it optional.
                operation["security"].append({})
    return openapi


def _add_schemas(schemas: dict[str, Any]) -> None:
    _, definitions = models_json_schema(
        [(Problem, "serialization"), (JobEvent, "serialization"), (EncodingSettings, "validation")],
        ref_template=SCHEMA_REFERENCE,
    )
    schemas.update(definitions["$defs"])
    for resource in ("Job", "JobRequest", "Preset"):
        settings = schemas[resource]["properties"]["settings"]
        described = {key: settings[key] for key in ("title", "description") if key in settings}
        schemas[resource]["properties"]["settings"] = {**described, **ENCODING_SETTINGS_SCHEMA}


def _add_examples(responses: Mapping[str, Any]) -> None:
    for (operation_id, status), example in RESPONSES.items():
        # Not by way of FastAPI, which would leave out what is null.
        value = example.model_dump(mode="json") if isinstance(example, BaseModel) else example
        responses[operation_id][str(status)]["content"]["application/json"]["example"] = value
