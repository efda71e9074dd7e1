from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from app.openapi.documentation import build_openapi
from core.encoding_settings import EncodingSettings
from tests.app.live import LiveApi, live_api
from tests.core.samples import sample_bundle
from tests.deployments import Deployment

PATHS = {
    "/livez": {"get"},
    "/readyz": {"get"},
    "/v1/jobs": {"get", "post"},
    "/v1/jobs/{job_id}": {"get", "delete"},
    "/v1/jobs/{job_id}/cancel": {"post"},
    "/v1/jobs/{job_id}/events": {"get"},
    "/v1/jobs/{job_id}/bundle/manifest.json": {"get"},
    "/v1/jobs/{job_id}/bundle/{path}": {"get"},
    "/v1/videos": {"get", "post"},
    "/v1/videos/{video_id}": {"get", "delete"},
    "/v1/videos/{video_id}/jobs": {"post"},
    "/v1/presets": {"get"},
    "/v1/networks": {"get"},
    "/v1/networks/{sha256}": {"get"},
    "/v1/schemas/manifest.json": {"get"},
}


SHOWN_ELSEWHERE = {"jobs/{job_id}/bundle/manifest.json", "jobs/{job_id}/bundle/{path}", "schemas/manifest.json"}
"""docs/FORMAT.md has a manifest."""
OPEN = {"GET /v1/networks", "GET /v1/networks/{sha256}", "GET /v1/schemas/manifest.json"}
"""They need no API key."""


@pytest.fixture
def document(embedded_api: LiveApi) -> dict[str, Any]:
    served: dict[str, Any] = embedded_api.client.get("/openapi.json").json()
    return served


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def schema_errors(document: dict[str, Any], schema: dict[str, Any], value: object) -> list[str]:
    registry: Registry[Any] = Registry().with_resource("doc:", Resource(contents=document, specification=DRAFT202012))

    def absolute(part: Any) -> Any:
        if isinstance(part, dict):
            return {
                key: f"doc:{item}" if key == "$ref" and isinstance(item, str) else absolute(item)
                for key, item in part.items()
            }
        return [absolute(item) for item in part] if isinstance(part, list) else part

    validator = jsonschema.Draft202012Validator(absolute(schema), registry=registry)
    return [error.message for error in validator.iter_errors(value)]


def test_every_address_is_there(document: dict[str, Any]) -> None:
    assert {path: set(methods) for path, methods in document["paths"].items()} == PATHS


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, operation in operations(document)]
    assert len(ids) == len(set(ids))
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["tags"], name
        assert all(parameter["description"] for parameter in operation.get("parameters", [])), name
        assert all(response["description"] for response in operation["responses"].values()), name


def test_every_json_response_has_an_example_of_its_schema(document: dict[str, Any]) -> None:
    count = 0
    for name, operation in operations(document):
        for status, response in operation["responses"].items():
            for media_type, content in response.get("content", {}).items():
                if "json" not in media_type or (status == "200" and name.partition("/v1/")[2] in SHOWN_ELSEWHERE):
                    continue
                shown = [content["example"]] if "example" in content else []
                shown += [example["value"] for example in content.get("examples", {}).values()]
                assert shown, (name, status)
                for example in shown:
                    assert schema_errors(document, content["schema"], example) == [], (name, status)
                    count += 1
    assert count > 60


def test_every_error_is_a_problem(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert set(response["content"]) == {"application/problem+json"}, (name, status)


def test_the_settings_are_described_wherever_they_appear(document: dict[str, Any]) -> None:
    reference = {"$ref": "#/components/schemas/EncodingSettings"}
    schemas = document["components"]["schemas"]
    for resource in ("Job", "JobRequest", "Preset"):
        assert reference.items() <= schemas[resource]["properties"]["settings"].items()
    properties = schemas["EncodingSettings"]["properties"]
    assert set(properties) == set(EncodingSettings.model_fields)
    assert schema_errors(document, reference, {"training": {"steps": 0}}) != []
    assert schema_errors(document, reference, {"training": {"steps": 10}}) == []


def test_the_example_requests_work(embedded_api: LiveApi, document: dict[str, Any]) -> None:
    video_id = embedded_api.upload()["id"]
    (request,) = document["components"]["schemas"]["JobRequest"]["examples"]
    assert embedded_api.client.post(f"/v1/videos/{video_id}/jobs", json=request).status_code == 202


def test_whether_a_key_is_needed(embedded_deployment: Deployment) -> None:
    for keys_required, requirements in ((False, [{"ApiKey": []}, {}]), (True, [{"ApiKey": []}])):
        with live_api(embedded_deployment, keys_required=keys_required) as live:
            document = build_openapi(live.app, keys_required=keys_required)
        assert document["components"]["securitySchemes"]["ApiKey"]["scheme"] == "bearer"
        for name, operation in operations(document):
            assert operation.get("security") == (requirements if "/v1/" in name and name not in OPEN else None), name


def test_a_manifest_is_described(document: dict[str, Any]) -> None:
    operation = document["paths"]["/v1/jobs/{job_id}/bundle/manifest.json"]["get"]
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    manifest = sample_bundle("1").manifest.model_dump(mode="json")
    assert schema_errors(document, schema, manifest) == []
    assert schema_errors(document, schema, {**manifest, "segments": None}) != []


def test_what_makes_something_takes_a_key_for_repeats(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        headers = [parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "header"]
        assert headers.count("Idempotency-Key") == ("requestBody" in operation), name


def test_every_body_has_an_example_that_its_schema_takes(document: dict[str, Any]) -> None:
    bodies = {
        address: operation["requestBody"] for address, operation in operations(document) if "requestBody" in operation
    }
    assert set(bodies) == {"POST /v1/jobs", "POST /v1/videos", "POST /v1/videos/{video_id}/jobs"}
    for address, body in bodies.items():
        (media,) = body["content"].values()
        schema = media["schema"]
        named = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]] if "$ref" in schema else {}
        examples_given = [media["example"]] if "example" in media else named["examples"]
        assert examples_given, address
        assert all(schema_errors(document, schema, example) == [] for example in examples_given), address
