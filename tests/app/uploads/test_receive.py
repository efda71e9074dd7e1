"""Large uploads in flat memory, measured on a server of its own."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from app.serve.child_processes import PROJECT_FOLDER
from app.serve.server import listen, url_of
from app.uploads.receive import remove_stale_uploads, uploads_dir
from core.settings import Settings
from tests.app.live import new_key
from tests.deployments import Deployment
from tests.processes import peak_memory_bytes

MIB = 2**20
MOST_MEMORY_BYTES = 200_000_000
START_SECONDS = 90
BLOCK = secrets.token_bytes(MIB)


@contextmanager
def api_process(deployment: Deployment, log: Path) -> Iterator[tuple[str, int]]:
    """The API in a process of its own: its address and its process id."""
    with listen("127.0.0.1", 0) as listener, log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "api", "--fd", str(listener.fileno()), "--keys-required"],
            cwd=PROJECT_FOLDER,
            env={**os.environ, **deployment.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(listener.fileno(),),
        )
        url = url_of(listener)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                httpx.get(f"{url}/livez", timeout=START_SECONDS, trust_env=False)
                break
            except httpx.TransportError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(30)


def form(byte_count: int, digest: hashlib._Hash) -> Iterator[bytes]:
    """A form with a file of so many bytes, made as it is sent."""
    yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="long.mp4"\r\n\r\n'
    for _ in range(byte_count // MIB):
        digest.update(BLOCK)
        yield BLOCK
    yield b"\r\n--x--\r\n"


def upload(deployment: Deployment, folder: Path, byte_count: int) -> tuple[int, float]:
    """Peak memory of a server that received so many bytes, and how long it took in seconds."""
    digest = hashlib.sha256()
    with api_process(deployment, folder / "log") as (url, pid):
        headers = {
            "Content-Type": "multipart/form-data; boundary=x",
            "Authorization": f"Bearer {new_key(deployment)}",
        }
        started = time.monotonic()
        content = form(byte_count, digest)
        response = httpx.post(f"{url}/v1/videos", content=content, headers=headers, timeout=600, trust_env=False)
        seconds = time.monotonic() - started
        assert response.status_code == 201, response.text
        assert response.json()["byte_count"] == byte_count
        assert response.json()["sha256"] == digest.hexdigest()
        return peak_memory_bytes(pid), seconds


def test_memory_stays_flat(deployment: Deployment, tmp_path: Path) -> None:
    peak, _ = upload(deployment, tmp_path, 300 * MIB)
    assert peak < MOST_MEMORY_BYTES


@pytest.mark.slow
def test_memory_stays_flat_for_two_gigabytes(deployment: Deployment, tmp_path: Path) -> None:
    peak, seconds = upload(deployment, tmp_path, 2048 * MIB)
    figures = {"mode": deployment.settings.mode, "peak_megabytes": peak / 1e6, "seconds": seconds}
    print(json.dumps(figures))
    assert peak < MOST_MEMORY_BYTES


def test_another_server_removes_the_same_leftovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(data_dir=tmp_path)
    uploads_dir(settings).mkdir(parents=True)
    leftovers = [uploads_dir(settings) / name for name in ("a", "b")]
    for path in leftovers:
        path.touch()

    def first_remove_all(_: Path, pattern: str) -> list[Path]:
        assert pattern == "*"
        for path in leftovers:
            path.unlink()
        return leftovers

    monkeypatch.setattr(Path, "glob", first_remove_all)
    remove_stale_uploads(settings, older_than_seconds=0)
    assert list(uploads_dir(settings).iterdir()) == []
