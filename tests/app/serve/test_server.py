"""The socket, and deployed mode by its command: several server processes on real servers."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

from app.serve.child_processes import PROJECT_FOLDER
from app.serve.server import listen, url_of
from app.serve.supervisor import ServeError
from tests.app.live import new_key
from tests.deployments import Deployment
from tests.processes import descendants_of, is_alive

START_SECONDS = 90


def test_a_free_port() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert url_of(listener) == f"http://127.0.0.1:{port}"
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


@pytest.mark.parametrize(("host", "address"), [("0.0.0.0", "127.0.0.1"), ("localhost", None), ("::1", "[::1]")])
def test_addresses(host: str, address: str | None) -> None:
    with listen(host, 0) as listener:
        url = url_of(listener)
        assert url.startswith(f"http://{address}:" if address else ("http://127.0.0.1:", "http://[::1]:"))


def test_a_port_in_use() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServeError, match=f"Port {port} of 127.0.0.1 is in use.*--port"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "", "not a host"])
def test_hosts_that_are_not_ours(host: str) -> None:
    with pytest.raises(ServeError, match="--host"):
        listen(host, 0)


def test_several_processes_serve_and_stop_together(deployed_deployment: Deployment) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "serve", "--port", "0", "--processes", "2"],
        cwd=PROJECT_FOLDER,
        env={**os.environ, **deployed_deployment.environment},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        address = re.fullmatch(r"Serving at (http://127\.0\.0\.1:\d+)\n", process.stderr.readline())
        assert address is not None
        headers = {"Authorization": f"Bearer {new_key(deployed_deployment)}"}
        with httpx.Client(base_url=address[1], headers=headers, timeout=START_SECONDS, trust_env=False) as client:
            files = {"file": ("a.mp4", b"some bytes")}
            made = client.post("/v1/videos", files=files).raise_for_status().json()
            assert client.get(f"/v1/videos/{made['id']}").json() == made
        everything = descendants_of(process.pid)
        assert len([command for command in everything.values() if "spawn_main" in command]) == 2
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=30)[1]
        lines = [json.loads(line) for line in output.splitlines()]
        assert {"POST", "GET"} == {line["method"] for line in lines if line["message"] == "request"}
        deadline = time.monotonic() + 10
        while any(is_alive(pid) for pid in everything):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
