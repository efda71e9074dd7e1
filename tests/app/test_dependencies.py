from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from core import api_keys
from core.callers import LOCAL_CALLER
from core.clock import utc_now
from core.tables import new_id
from tests.app.live import LiveApi, assert_problem, live_api, new_key
from tests.deployments import Deployment

PROTECTED = [
    ("GET", "/v1/jobs"),
    ("POST", "/v1/jobs"),
    ("GET", "/v1/videos"),
    ("POST", "/v1/videos"),
    ("GET", "/v1/presets"),
    ("GET", f"/v1/jobs/{new_id()}"),
    ("DELETE", f"/v1/jobs/{new_id()}"),
    ("POST", f"/v1/jobs/{new_id()}/cancel"),
    ("GET", f"/v1/jobs/{new_id()}/events"),
    ("GET", f"/v1/jobs/{new_id()}/bundle/manifest.json"),
    ("HEAD", f"/v1/jobs/{new_id()}/bundle/manifest.json"),
    ("GET", f"/v1/videos/{new_id()}"),
    ("DELETE", f"/v1/videos/{new_id()}"),
]


@pytest.fixture
def locked(deployment: Deployment) -> Iterator[LiveApi]:
    with live_api(deployment, keys_required=True) as live:
        yield live


def test_everything_needs_a_key(locked: LiveApi) -> None:
    for method, path in PROTECTED:
        response = httpx.request(method, locked.url + path, trust_env=False)
        assert response.status_code == 401, (method, path)
        assert response.headers["www-authenticate"] == 'Bearer realm="stdo"'
        if method != "HEAD":
            assert_problem(response, 401, "missing-api-key")


def test_an_upload_without_a_key_is_refused_before_it_is_read(locked: LiveApi) -> None:
    files = {"file": ("a.mp4", b"x" * 5_000_000)}
    response = httpx.post(f"{locked.url}/v1/videos", files=files, trust_env=False)
    assert_problem(response, 401, "missing-api-key")
    assert locked.incoming() == []


@pytest.mark.parametrize(
    ("header", "slug"),
    [
        ("Bearer wrong", "invalid-api-key"),
        ("Bearer stdo_", "invalid-api-key"),
        ("Bearer \xff\xfe", "invalid-api-key"),
        ("Bearer", "missing-api-key"),
        ("Basic dXNlcjpwYXNz", "missing-api-key"),
        ("stdo_key", "missing-api-key"),
        ("", "missing-api-key"),
    ],
)
def test_wrong_keys(embedded_deployment: Deployment, header: str, slug: str) -> None:
    with live_api(embedded_deployment, keys_required=True) as live:
        headers = {"Authorization": header.encode("latin-1")}
        response = httpx.get(f"{live.url}/v1/jobs", headers=headers, trust_env=False)
        assert_problem(response, 401, slug)


def test_a_key_works_until_it_is_revoked(locked: LiveApi) -> None:
    database = locked.deployment.database
    assert locked.client.get("/v1/jobs").status_code == 200
    with database.snapshot() as session:
        (row,) = api_keys.list_all(session, LOCAL_CALLER)
    assert row.last_used_at is not None
    with database.transaction() as session:
        api_keys.revoke(session, LOCAL_CALLER, row.id, now=utc_now())
    assert_problem(locked.client.get("/v1/jobs"), 401, "invalid-api-key")
    headers = {"Authorization": f"bearer {new_key(locked.deployment)}"}
    assert locked.client.get("/v1/jobs", headers=headers).status_code == 200


def test_deployed_mode_always_asks_for_keys(deployed_deployment: Deployment) -> None:
    with live_api(deployed_deployment) as live:
        assert httpx.get(f"{live.url}/v1/jobs", trust_env=False).status_code == 401


def test_embedded_mode_on_loopback_does_not(embedded_deployment: Deployment) -> None:
    with live_api(embedded_deployment) as live:
        assert httpx.get(f"{live.url}/v1/jobs", trust_env=False).status_code == 200
