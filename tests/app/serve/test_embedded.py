"""The whole service as one process tree: started, killed, started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

import httpx
import pytest

from app.serve.child_processes import PROJECT_FOLDER
from app.serve.embedded import take_back_parts
from core.clock import utc_now
from core.database import Database
from core.jobs import job_states
from tests.app.live import wait_until
from tests.core.samples import load_part, new_video, part_id_of
from tests.deployments import Deployment
from tests.processes import descendants_of, is_alive

START_SECONDS = 90
STOP_SECONDS = 30
GONE_SECONDS = 10


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service that was started by its command."""

    process: subprocess.Popen[bytes]
    ready_file: Path
    log: Path

    @property
    def url(self) -> str:
        """Where it is, from its ready file."""
        return str(json.loads(self.ready_file.read_text())["url"])

    def wait_until_ready(self) -> None:
        """Wait for its ready file."""
        deadline = time.monotonic() + START_SECONDS
        while not self.ready_file.exists():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Service]:
    """`serve` on a free port, on the folder's data."""
    ready_file, log = folder / "ready.json", folder / "log"
    ready_file.unlink(missing_ok=True)
    with log.open("ab") as output:
        process = start(folder, "--port", "0", "--ready-file", str(ready_file), *options, output=output)
    try:
        yield Service(process=process, ready_file=ready_file, log=log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def start(folder: Path, *options: str, output: IO[bytes] | int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "app", "serve", *options],
        cwd=PROJECT_FOLDER,
        env={**os.environ, "STDO_DATA_DIR": str(folder / "var")},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
    )


def refuse_to_start(folder: Path, *options: str) -> str:
    """What `serve` says when it can't start."""
    process = start(folder, *options, output=subprocess.PIPE)
    output, _ = process.communicate(timeout=START_SECONDS)
    assert process.returncode == 1, output
    assert b"Traceback" not in output
    return output.decode()


def programs(service: Service) -> dict[str, int]:
    """The service's children by what they are."""
    words = {"app api": "api", "--queue cpu": "cpu", "--queue gpu": "gpu", "beat": "beat", "valkey": "broker"}
    return {
        name: pid
        for pid, command in descendants_of(service.process.pid).items()
        for word, name in words.items()
        if word in command
    }


def assert_all_gone(pids: Mapping[int, str]) -> None:
    deadline = time.monotonic() + GONE_SECONDS
    while left := {pid: command for pid, command in pids.items() if is_alive(pid)}:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One for several tests, and open to the network, so that callers need a key."""
    with serving(tmp_path_factory.mktemp("service"), "--host", "0.0.0.0") as running:
        running.wait_until_ready()
        yield running


def get(service: Service, path: str) -> Any:
    return httpx.get(service.url + path, timeout=20, trust_env=False).raise_for_status().json()


def is_ready(service: Service) -> bool:
    try:
        return httpx.get(f"{service.url}/readyz", timeout=20, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


class TestOneService:
    def test_one_command_starts_everything(self, service: Service) -> None:
        assert programs(service).keys() == {"api", "cpu", "gpu", "beat", "broker"}
        said = service.log.read_text()
        assert f"ready at {service.url}" in said
        assert f"{service.url}/docs" in said
        assert get(service, "/readyz") == {"status": "ready"}

    def test_beyond_loopback_callers_need_a_key(self, service: Service) -> None:
        assert httpx.get(f"{service.url}/v1/jobs", trust_env=False).status_code == 401
        command = [sys.executable, "-m", "app", "keys", "create", "me"]
        environment = {**os.environ, "STDO_DATA_DIR": str(service.ready_file.parent / "var")}
        made = subprocess.run(command, cwd=PROJECT_FOLDER, env=environment, capture_output=True, check=True)
        headers = {"Authorization": f"Bearer {made.stdout.decode().strip()}"}
        assert httpx.get(f"{service.url}/v1/jobs", headers=headers, trust_env=False).status_code == 200

    def test_a_second_one_on_the_same_folder_is_refused(self, service: Service) -> None:
        folder = service.ready_file.parent
        said = refuse_to_start(folder, "--port", "0")
        assert str(folder / "var") in said
        assert "STDO_DATA_DIR" in said
        assert get(service, "/livez") == {"status": "alive"}

    def test_its_secrets_are_in_no_command_line(self, service: Service) -> None:
        configuration = service.ready_file.parent / "var" / "broker" / "valkey.conf"
        assert configuration.stat().st_mode & 0o077 == 0
        (password,) = (
            line.split()[1] for line in configuration.read_text().splitlines() if line.startswith("requirepass")
        )
        assert not any(password in command for command in descendants_of(service.process.pid).values())
        assert password not in service.log.read_text()

    def test_what_dies_is_started_again(self, service: Service) -> None:
        for name in ("api", "broker"):
            before = programs(service)[name]
            os.kill(before, signal.SIGKILL)
            wait_until(lambda: programs(service).get(name, before) != before, seconds=START_SECONDS)  # noqa: B023
        wait_until(lambda: is_ready(service), seconds=START_SECONDS)

    def test_one_signal_stops_it_all(self, service: Service) -> None:
        everything = descendants_of(service.process.pid)
        assert service.stop() == 0
        assert_all_gone(everything)
        assert not service.ready_file.exists()


def test_nothing_is_left_when_it_is_killed_and_work_survives(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        service.wait_until_ready()
        files = {"file": ("a.mp4", b"no video at all")}
        made = httpx.post(f"{service.url}/v1/videos", files=files, trust_env=False).raise_for_status().json()
        everything = descendants_of(service.process.pid)
        assert len(everything) >= 5
        service.process.kill()
        service.process.wait()
        assert_all_gone(everything)
    # At once, on the same folder: what was left is cleared away first.
    with serving(tmp_path) as service:
        service.wait_until_ready()
        assert get(service, f"/v1/videos/{made['id']}")["sha256"] == made["sha256"]
        wait_until(lambda: get(service, f"/v1/videos/{made['id']}")["state"] == "refused", seconds=START_SECONDS)
        assert service.stop(signal.SIGINT) == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_ended_while_it_starts(tmp_path: Path, number: signal.Signals) -> None:
    with serving(tmp_path) as service:
        wait_until(lambda: "broker" in programs(service), seconds=START_SECONDS)
        everything = descendants_of(service.process.pid)
        assert service.stop(number) == (0 if number == signal.SIGTERM else -signal.SIGKILL)
        assert_all_gone(everything)


def running_part(database: Database) -> str:
    """The id of a part whose worker sent a sign of life just now."""
    part_id = part_id_of(database, new_video(database), "probe")
    with database.transaction() as session:
        assert job_states.claim(session, part_id, now=utc_now(), lease=timedelta(seconds=60))
    return part_id


class TestTakeBackParts:
    def test_of_the_last_run_on_this_folder(self, embedded_deployment: Deployment) -> None:
        part_id = running_part(embedded_deployment.database)
        take_back_parts(embedded_deployment.settings)
        assert load_part(embedded_deployment.database, part_id).state == "queued"

    def test_leaves_those_of_workers_elsewhere(self, deployed_deployment: Deployment) -> None:
        part_id = running_part(deployed_deployment.database)
        take_back_parts(deployed_deployment.settings.model_copy(update={"mode": "embedded"}))
        assert load_part(deployed_deployment.database, part_id).state == "running"
