from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator

import httpx
import jsonschema
import pytest

from app.serve.child_processes import PROJECT_FOLDER
from stdo.bundle.schema import SCHEMA_PATH
from stdo.networks.general import GENERAL
from tests.app.live import assert_problem, live_api
from tests.core.samples import sample_bundle
from tests.deployments import Deployment

ELSEWHERE = {"Origin": "https://player.example"}


@pytest.fixture
def client(embedded_deployment: Deployment) -> Iterator[httpx.Client]:
    """Without a key, on a service that asks for keys."""
    with (
        live_api(embedded_deployment, keys_required=True) as live,
        httpx.Client(base_url=live.url, trust_env=False) as client,
    ):
        yield client


class TestNetworks:
    def test_all_are_listed_with_what_they_are(self, client: httpx.Client) -> None:
        items = client.get("/v1/networks").json()["items"]
        assert [item["sha256"] for item in items] == list(GENERAL)
        for item in items:
            network = GENERAL[item["sha256"]]
            assert (item["architecture"], item["scale"], item["channels"]) == (
                network.architecture,
                network.scale,
                network.channels,
            )

    def test_each_is_served_for_good(self, client: httpx.Client) -> None:
        assert GENERAL
        for item in client.get("/v1/networks").json()["items"]:
            response = client.get(f"/v1/networks/{item['sha256']}", headers=ELSEWHERE)
            assert response.status_code == 200
            assert hashlib.sha256(response.content).hexdigest() == item["sha256"]
            assert len(response.content) == item["byte_count"]
            assert response.headers["content-type"] == "application/octet-stream"
            assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
            assert response.headers["etag"] == f'"{item["sha256"]}"'
            assert response.headers["access-control-allow-origin"] == "*"

    def test_parts_and_what_is_known_already(self, client: httpx.Client) -> None:
        sha256, network = next(iter(GENERAL.items()))
        path = f"/v1/networks/{sha256}"
        part = client.get(path, headers={"Range": "bytes=2-7"})
        assert (part.status_code, part.content) == (206, network.path.read_bytes()[2:8])
        assert client.get(path, headers={"If-None-Match": f'"{sha256}"'}).status_code == 304
        outside = client.get(path, headers={"Range": "bytes=100000000-"})
        assert_problem(outside, 416, "range-not-satisfiable")
        head = client.head(path)
        assert head.headers["content-length"] == str(len(network.path.read_bytes()))

    def test_what_is_none(self, client: httpx.Client) -> None:
        for unknown in ("0" * 64, "x", "%00", "..%2f..%2fetc", next(iter(GENERAL)).upper()):
            response = client.get(f"/v1/networks/{unknown}")
            slug = "not-found" if "%2f" in unknown else "network-not-found"
            assert_problem(response, 404, slug)

    def test_the_api_loads_no_runtime_for_them(self) -> None:
        code = "import sys, app.main; print([name for name in ('onnxruntime', 'av', 'torch') if name in sys.modules])"
        ran = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_FOLDER, capture_output=True, check=True)
        assert ran.stdout.decode().strip() == "[]"


class TestManifestSchema:
    def test_it_is_the_one_of_the_format_and_takes_a_manifest(self, client: httpx.Client) -> None:
        response = client.get("/v1/schemas/manifest.json", headers=ELSEWHERE)
        assert response.content == SCHEMA_PATH.read_bytes()
        assert response.headers["content-type"] == "application/schema+json"
        assert response.headers["cache-control"] == "public, max-age=3600"
        schema = response.json()
        assert schema["$id"]
        jsonschema.validate(json.loads(sample_bundle("1").manifest.model_dump_json()), schema)

    def test_not_modified(self, client: httpx.Client) -> None:
        etag = client.get("/v1/schemas/manifest.json").headers["etag"]
        again = client.get("/v1/schemas/manifest.json", headers={"If-None-Match": etag})
        assert (again.status_code, again.content) == (304, b"")
