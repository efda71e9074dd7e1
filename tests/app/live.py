"""The API on a real socket: under uvicorn, in a thread of the test."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from app.main import create_app
from core import api_keys
from core.callers import LOCAL_CALLER
from core.clock import utc_now
from core.settings import Settings
from core.tables import JobRow, VideoRow
from tests.deployments import Deployment

START_SECONDS = 60
WAIT_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class LiveApi:
    """A running API, and a client that may use it."""

    app: FastAPI
    url: str
    client: httpx.Client
    deployment: Deployment
    settings: Settings

    @property
    def address(self) -> tuple[str, int]:
        """For sockets that send what no client would."""
        port = httpx.URL(self.url).port
        assert port is not None
        return "127.0.0.1", port

    @property
    def is_embedded(self) -> bool:
        """Whether this is the embedded setting."""
        return self.settings.mode == "embedded"

    def upload(self, data: bytes = b"some bytes", name: str = "holiday.mp4") -> dict[str, Any]:
        """The video that was made of these bytes."""
        response = self.client.post("/v1/videos", files={"file": (name, data)})
        assert response.status_code == 201, response.text
        video: dict[str, Any] = response.json()
        return video

    def objects(self) -> list[str]:
        """Every key in the store."""
        return [key for prefix in ("videos/", "jobs/", "bundles/") for key in self.deployment.store.list_prefix(prefix)]

    def incoming(self) -> list[Path]:
        """Uploads that lie in the scratch folder."""
        return list(self.settings.scratch_dir.glob("uploads/*"))

    def count(self, table: type[VideoRow] | type[JobRow]) -> int:
        """Rows of a table."""
        with self.deployment.database.snapshot() as session:
            return session.query(table).count()


@contextmanager
def live_api(
    deployment: Deployment, *, keys_required: bool | None = None, settings: Mapping[str, Any] | None = None
) -> Iterator[LiveApi]:
    """The deployment's API, with a valid key where it asks for one. `settings` replaces some of the deployment's."""
    changed = deployment.settings.model_copy(update=dict(settings or {}))
    if keys_required is None:
        keys_required = changed.mode == "deployed"
    app = create_app(changed, keys_required=keys_required)
    with socket.create_server(("127.0.0.1", 0)) as listener, _serving(app, listener):
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        headers = {"Authorization": f"Bearer {new_key(deployment)}"} if keys_required else {}
        # Nothing of the proxies that the machine may have in its environment.
        with httpx.Client(base_url=url, headers=headers, timeout=20, trust_env=False) as client:
            yield LiveApi(app=app, url=url, client=client, deployment=deployment, settings=changed)


def new_key(deployment: Deployment) -> str:
    """A fresh API key."""
    with deployment.database.transaction() as session:
        return api_keys.create(session, LOCAL_CALLER, name="test", now=utc_now()).secret


@contextmanager
def _serving(app: FastAPI, listener: socket.socket) -> Iterator[None]:
    config = uvicorn.Config(app, log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        wait_until(lambda: server.started, seconds=START_SECONDS)
        yield
    finally:
        server.should_exit = True
        thread.join()


def wait_until(condition: Callable[[], bool], *, seconds: float = WAIT_SECONDS) -> None:
    """Return once the condition holds; fail where it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


def assert_problem(response: httpx.Response, status: int, slug: str, field: str | None = None) -> dict[str, Any]:
    """The response is this problem, and names this field."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json"), (
        response.text
    )
    problem: dict[str, Any] = response.json()
    assert problem["type"] == f"/problems/{slug}", problem
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    if field is not None:
        assert [error["field"] for error in problem["errors"]] == [field]
        assert all(error["message"] for error in problem["errors"])
    return problem
