from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from demo.errors import DemoError
from demo.service import embedded_service
from tests.clips import ClipMaker

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
GONE_SECONDS = 30.0


def test_the_service_runs_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Settings of a deployment are not the demo's.
    monkeypatch.setenv("STDO_MODE", "deployed")
    monkeypatch.setenv("STDO_DATABASE_URL", "postgresql+psycopg://nobody@127.0.0.1:1/elsewhere")
    with embedded_service(tmp_path / "service.log") as url:
        assert httpx.get(f"{url}/readyz").json() == {"status": "ready"}
        assert len(_processes_of(tmp_path)) >= 4
    assert _processes_of(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["service.log"]
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_a_service_that_does_not_start_says_why(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path_factory.mktemp("without the service")
    monkeypatch.setattr("demo.service._CHECKOUT", checkout)
    with pytest.raises(DemoError, match=r"(?s)ended while it started.*No module named app") as caught:
        embedded_service(tmp_path / "service.log").__enter__()
    assert "Traceback" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["service.log"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_demo_stops_the_service(number: signal.Signals, tmp_path: Path) -> None:
    video = ClipMaker(tmp_path).plain
    output = tmp_path / "output"
    command = [sys.executable, "-m", "demo", "--video", str(video), "--output", str(output)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        try:
            assert any("The service runs at" in line for line in demo.stdout), demo.stderr.read()
            assert any("Upload the video" in line for line in demo.stdout)
            demo.send_signal(number)
            assert demo.wait(GONE_SECONDS) in (130, 143, -signal.SIGKILL)
            assert "Traceback" not in demo.stderr.read()
        finally:
            demo.kill()
    assert _wait_until_gone(output)


def test_a_video_that_is_not_there(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "demo", "--video", str(tmp_path / "absent.mp4"), "--output", str(tmp_path / "o")]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, result.stdout) == (1, "")
    assert "There is no video" in result.stderr
    assert not (tmp_path / "o").exists()


def _wait_until_gone(folder: Path) -> bool:
    deadline = time.monotonic() + GONE_SECONDS
    while _processes_of(folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _processes_of(folder: Path) -> list[str]:
    """Commands that run with a data folder below `folder`, as all parts of the service do."""
    return list(_commands_with(f"{folder}{os.sep}".encode()))


def _commands_with(text: bytes) -> Iterator[str]:
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdecimal() and text in (process / "environ").read_bytes():
                yield (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
