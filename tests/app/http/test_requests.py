from __future__ import annotations

import json
import logging
from typing import Any, NoReturn

import pytest

from core import logs
from core.jobs import jobs
from core.tables import new_id
from tests.app.live import LiveApi, assert_problem
from tests.processes import wait_until


@pytest.fixture
def request_lines(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.INFO)

    def records() -> list[logging.LogRecord]:
        return [record for record in caplog.records if hasattr(record, "path")]

    def lines(count: int) -> list[dict[str, Any]]:
        # The server writes a request's line when the client has the response already.
        wait_until(lambda: len(records()) >= count, seconds=10, what="the log's lines")
        formatter = logs.JsonFormatter()
        return [json.loads(formatter.format(record)) for record in records()]

    return lines


class TestRequestLog:
    def test_one_line_without_secrets(self, embedded_api: LiveApi, request_lines: Any) -> None:
        headers = {"Authorization": "Bearer secret-key", "X-Request-ID": "abc-1"}
        response = embedded_api.client.get("/v1/jobs?cursor=secret-query", headers=headers)
        assert response.headers["x-request-id"] == "abc-1"
        (line,) = request_lines(1)
        assert (line["request_id"], line["method"], line["path"], line["status"]) == ("abc-1", "GET", "/v1/jobs", 422)
        assert line["duration_ms"] > 0
        assert "secret" not in json.dumps(line)

    def test_ids_that_could_forge_lines_are_replaced(self, embedded_api: LiveApi, request_lines: Any) -> None:
        for given in ("a b", "x" * 65, "a=b", "\xff"):
            headers = {"X-Request-ID": given.encode("latin-1")}
            response = embedded_api.client.get("/livez", headers=headers)
            assert len(response.headers["x-request-id"]) == 32
        embedded_api.client.get("/v1/jobs/a%0astatus=200")
        assert request_lines(5)[-1]["path"] == "/v1/jobs/a%0Astatus%3D200"

    def test_security_headers(self, embedded_api: LiveApi) -> None:
        for path in ("/livez", "/nothing", "/v1/jobs"):
            headers = embedded_api.client.get(path).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["x-frame-options"] == "DENY"


class TestUnhandledErrors:
    def test_tell_nothing_but_an_id(
        self, embedded_api: LiveApi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(*_: object, **__: object) -> NoReturn:
            raise ZeroDivisionError("the secret reason")

        monkeypatch.setattr(jobs, "get_resource", fail)
        response = embedded_api.client.get(f"/v1/jobs/{new_id()}")
        problem = assert_problem(response, 500, "internal-error")
        request_id = response.headers["x-request-id"]
        assert request_id in problem["detail"]
        assert "secret" not in response.text
        assert "Traceback" not in response.text
        (record,) = (record for record in caplog.records if record.levelno == logging.ERROR)
        assert request_id in record.getMessage()
        assert "the secret reason" in logs.JsonFormatter().format(record)


class TestMethods:
    def test_head_is_get_without_the_body(self, embedded_api: LiveApi) -> None:
        for path in ("/livez", "/v1/presets", "/v1/jobs", "/v1/jobs/x", "/docs", "/openapi.json"):
            get, head = (embedded_api.client.request(method, path) for method in ("GET", "HEAD"))
            assert (head.status_code, head.content) == (get.status_code, b"")
            for name in ("content-type", "content-length"):
                assert head.headers[name] == get.headers[name]

    def test_methods_that_are_not_there(self, embedded_api: LiveApi) -> None:
        expected = {
            "/v1/jobs": "GET, HEAD, POST",
            f"/v1/jobs/{new_id()}": "GET, HEAD, DELETE",
            f"/v1/jobs/{new_id()}/cancel": "POST",
            f"/v1/jobs/{new_id()}/bundle/a/b": "GET, HEAD",
        }
        for path, methods in expected.items():
            for method in ("PUT", "PATCH", "BREW", "OPTIONS"):
                response = embedded_api.client.request(method, path)
                assert_problem(response, 405, "method-not-allowed")
                assert response.headers["allow"] == methods
        assert_problem(embedded_api.client.options("/nothing"), 404, "not-found")

    def test_addresses_that_are_not_there(self, embedded_api: LiveApi) -> None:
        for path in ("/", "/v1", "/v1/", "/v1/jobs/", "/v2/jobs", "/v1/jobs/x/y", "/%00", "/%ff"):
            assert_problem(embedded_api.client.get(path), 404, "not-found")
