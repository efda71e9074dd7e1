from __future__ import annotations

import threading
import time

import pytest
from pydantic import SecretStr

from app.routes import health
from tests.app.live import LiveApi, assert_problem, live_api
from tests.deployments import Deployment

NOWHERE = "redis://:x@127.0.0.1:1/0"


def failed_parts(live: LiveApi) -> list[str]:
    problem = assert_problem(live.client.get("/readyz"), 503, "not-ready")
    return sorted(error["field"] for error in problem["errors"])


def test_alive_and_ready_without_a_key(deployment: Deployment) -> None:
    with live_api(deployment, keys_required=True) as live:
        del live.client.headers["authorization"]
        assert live.client.get("/livez").json() == {"status": "alive"}
        assert live.client.get("/readyz").json() == {"status": "ready"}


def test_names_the_parts_that_do_not_answer(embedded_deployment: Deployment) -> None:
    with live_api(embedded_deployment, settings={"redis_url": SecretStr(NOWHERE)}) as live:
        assert failed_parts(live) == ["broker"]
        assert live.client.get("/livez").status_code == 200
        embedded_deployment.settings.objects_dir.joinpath("files").rmdir()
        assert failed_parts(live) == ["broker", "object_store"]
        response = live.client.get("/readyz")
        assert response.headers["retry-after"] == "5"
        assert NOWHERE not in response.text


def test_names_the_servers_that_are_gone(deployed_deployment: Deployment) -> None:
    gone = {
        "database_url": SecretStr("postgresql+psycopg://postgres@127.0.0.1:1/nothing"),
        "redis_url": SecretStr(NOWHERE),
        "s3_endpoint_url": "http://127.0.0.1:1",
    }
    with live_api(deployed_deployment, settings=gone) as live:
        assert failed_parts(live) == ["broker", "database", "object_store"]


def test_a_part_that_hangs_is_not_waited_for(embedded_api: LiveApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CHECK_SECONDS", 0.2)
    released = threading.Event()
    monkeypatch.setattr(embedded_api.app.state.services.store, "check", lambda: released.wait(20))
    started = time.monotonic()
    assert failed_parts(embedded_api) == ["object_store"]
    assert time.monotonic() - started < 10
    released.set()
