from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.http.origins import is_loopback_name
from tests.app.live import LiveApi, assert_problem, live_api
from tests.deployments import Deployment

FOREIGN = "https://evil.example"


@pytest.fixture
def locked(embedded_deployment: Deployment) -> Iterator[LiveApi]:
    with live_api(embedded_deployment, keys_required=True) as live:
        yield live


class TestWithoutKeys:
    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": FOREIGN},
            {"Origin": "null"},
            {"Origin": "http://localhost.evil.example"},
            {"Origin": "http://127.0.0.1.evil.example"},
            {"Host": "evil.example"},
            {"Host": "evil.example:8000"},
            {"Host": "[::1"},
            {"Host": "localhost.evil.example"},
            {"Host": "192.168.1.5"},
        ],
    )
    def test_foreign_pages_are_refused(self, embedded_api: LiveApi, headers: dict[str, str]) -> None:
        response = embedded_api.client.post("/v1/videos", files={"file": ("a.mp4", b"x")}, headers=headers)
        assert_problem(response, 403, "foreign-origin")
        assert embedded_api.objects() == []

    def test_pages_of_this_machine_are_served(self, embedded_api: LiveApi) -> None:
        for origin in ("http://localhost:5173", "http://127.0.0.1:8000", "http://[::1]:80", "https://app.localhost"):
            response = embedded_api.client.get("/v1/jobs", headers={"Origin": origin})
            assert (response.status_code, response.headers["access-control-allow-origin"]) == (200, origin)
        for host in ("localhost", "localhost:8000", "127.0.0.2", "[::1]:8000", "app.localhost"):
            assert embedded_api.client.get("/v1/jobs", headers={"Host": host}).status_code == 200

    def test_a_foreign_preflight_is_refused(self, embedded_api: LiveApi) -> None:
        headers = {"Origin": FOREIGN, "Access-Control-Request-Method": "DELETE"}
        response = embedded_api.client.options("/v1/jobs/x", headers=headers)
        assert response.status_code == 403
        assert "access-control-allow-origin" not in response.headers


class TestWithKeys:
    def test_any_page_may_ask(self, locked: LiveApi) -> None:
        response = locked.client.get("/v1/jobs", headers={"Origin": FOREIGN, "Host": "api.example"})
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in response.headers
        exposed = response.headers["access-control-expose-headers"]
        assert {"ETag", "Content-Range", "Location", "Retry-After"} <= set(exposed.split(", "))

    def test_errors_can_be_read_too(self, locked: LiveApi) -> None:
        response = locked.client.get("/v1/jobs", headers={"Origin": FOREIGN, "Authorization": "Bearer x"})
        assert response.status_code == 401
        assert response.headers["access-control-allow-origin"] == "*"

    def test_preflight_needs_no_key(self, locked: LiveApi) -> None:
        headers = {
            "Origin": FOREIGN,
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization,range,if-range,last-event-id",
        }
        del locked.client.headers["authorization"]
        response = locked.client.options("/v1/jobs/x/bundle/base.mp4", headers=headers)
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.0.1", False),
        ("example.com", False),
        ("", False),
        ("127.0.0.1.example.com", False),
    ],
)
def test_loopback_names(host: str, expected: bool) -> None:
    assert is_loopback_name(host) == expected
