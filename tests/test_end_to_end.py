"""The main job as a user sees it, in both settings: a video goes in over HTTP, a bundle comes out, frames come back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from core.settings import Settings
from core.storage.keys import work_key
from core.storage.object_store import ObjectStore, make_object_store
from core.tied_exec import tied
from stdo import Client, open_bundle, reconstruct
from stdo.service.resources import Job, JobEvent
from tests.clips import ClipMaker
from tests.deployments import Deployment
from tests.processes import descendants_of, is_alive, wait_until

PATIENCE_SECONDS = 300.0
"""Far more than a healthy service needs; a busy machine may."""
STAGES = ("encode", "score", "group", "train", "export", "measure", "publish")
"""Of a job. The video is probed for itself."""
SETTINGS: dict[str, Any] = {
    "patches": {"width": 32, "height": 24},
    "groups": {"count": 2},
    "training": {"steps": 60, "batch_size": 4, "checkpoint_interval_seconds": 0.2},
}


@dataclass(frozen=True, kw_only=True)
class Service:
    """A running service, all of its processes."""

    client: Client
    store: ObjectStore
    scratch: Path


@contextmanager
def process(*arguments: str, log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the service, stopped at the end as an operator would."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STDO_")}
    with log.open("ab") as output:
        started = subprocess.Popen(
            tied([sys.executable, "-m", *arguments], death_signal=signal.SIGTERM),
            env={**inherited, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield started
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(30)
        finally:
            started.kill()
            started.wait()


@contextmanager
def embedded_process(data_dir: Path, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`python -m app serve` with nothing but a folder; it and its address."""
    ready_file = data_dir.with_suffix(".ready")
    ready_file.unlink(missing_ok=True)
    options = ("--port", "0", "--ready-file", str(ready_file))
    with process("app", "serve", *options, log=log, STDO_DATA_DIR=str(data_dir)) as server:
        wait_until(ready_file.exists, seconds=PATIENCE_SECONDS, what="the service's readiness")
        yield server, json.loads(ready_file.read_text())["url"]


@contextmanager
def embedded_service(folder: Path) -> Iterator[Service]:
    settings = Settings(data_dir=folder / "var")
    with embedded_process(settings.data_dir, folder / "log") as (_, url), Client(url) as client:
        yield Service(client=client, store=make_object_store(settings), scratch=settings.scratch_dir)


@contextmanager
def deployed_service(deployment: Deployment, folder: Path) -> Iterator[Service]:
    """Each process by its own command, on the deployment's servers."""
    log, environment = folder / "log", dict(deployment.environment)
    new_key = [sys.executable, "-m", "app", "keys", "create", "end-to-end"]
    key = subprocess.run(new_key, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    with ExitStack() as running:
        for arguments in (
            ("app", "serve", "--port", "0"),
            ("workers", "run", "--queue", "cpu"),
            ("workers", "run", "--queue", "gpu"),
            ("workers", "beat"),
        ):
            running.enter_context(process(*arguments, log=log, **environment))
        wait_until(lambda: "Serving at " in log.read_text(), seconds=PATIENCE_SECONDS, what="the API's start")
        url = log.read_text().partition("Serving at ")[2].split()[0]
        client = running.enter_context(Client(url, api_key=key.stdout.strip()))
        yield Service(client=client, store=deployment.store, scratch=deployment.settings.scratch_dir)


@pytest.fixture(params=["embedded", "deployed"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    """The service in each of its settings: the test runs once with either."""
    if request.param == "embedded":
        with embedded_service(tmp_path) as running:
            yield running
    else:
        deployment: Deployment = request.getfixturevalue("deployed_deployment")
        with deployed_service(deployment, tmp_path) as running:
            yield running


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return ClipMaker(tmp_path).with_sound


def source_luma(clip: Path) -> npt.NDArray[np.uint8]:
    """The Y planes of a clip, (frames, h, w)."""
    with av.open(str(clip)) as container:
        planes = [frame.to_ndarray(format="yuv420p")[: frame.height] for frame in container.decode(video=0)]
    return np.stack(planes)


def psnr(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> float:
    """Pooled, in dB."""
    mean_squared_error = np.mean((first.astype(np.float64) - second) ** 2)
    return float(10 * np.log10(255**2 / mean_squared_error))


def check_bundle(job: Job, folder: Path, clip: Path) -> None:
    """The fetched bundle is whole, as large as the service says, and restores what the service measured."""
    assert job.bundle is not None
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    with open_bundle(folder) as bundle:
        manifest = bundle.manifest
        assert [check.problem for check in bundle.verify()] == [None] * len(manifest.all_files())
        frames = list(reconstruct(bundle))
    assert set(sizes) == {"manifest.json", *(file.path for file in manifest.all_files())}
    assert job.bundle.bytes == {
        "base_stream": sizes["base.mp4"],
        "networks": sizes["networks/0.onnx"] + sizes["networks/1.onnx"],
        "patch_index": sizes["index.bin"],
        "tables": sizes["segments.bin"] + sizes["base.m3u8"],
        "manifest": sizes["manifest.json"],
        "total": sum(sizes[name] for name in sizes if not name.startswith("quality/")),
    }
    assert manifest.bundle_id == job.id
    assert manifest.base_stream.audio_codec == "aac"
    assert len(manifest.networks) == 2
    expected = source_luma(clip)
    assert [float(frame.time) for frame in frames] == pytest.approx([number / 25 for number in range(len(expected))])
    restored = psnr(np.stack([frame.luma for frame in frames]), expected)
    assert manifest.quality is not None
    assert manifest.quality.restored.psnr_y == pytest.approx(restored, abs=0.01)
    assert job.bundle.quality["restored"]["psnr_y"] == manifest.quality.restored.psnr_y


def test_a_video_goes_in_and_a_bundle_comes_out(service: Service, clip: Path, tmp_path: Path) -> None:
    client = service.client

    started = client.encode(clip, preset="fast", settings=SETTINGS)
    history = [event for event in client.iterate_progress(started.id) if isinstance(event, JobEvent)]
    job = client.wait(started.id, timeout_seconds=PATIENCE_SECONDS)

    assert job.state == "succeeded", job.failure
    assert job.progress == 1.0
    assert set(job.stage_seconds) == set(STAGES)
    stages = [event.stage for event in history if event.stage is not None]
    assert tuple(dict.fromkeys(stages)) == STAGES
    states = tuple(dict.fromkeys(event.state for event in history))
    assert states == ("queued", "encoding", "planning", "training", "finishing", "succeeded")
    assert all(later.progress >= earlier.progress for earlier, later in pairwise(history))
    video = client.video(job.video_id)
    assert video.state == "ready"
    assert video.source is not None
    assert video.source.frame_count == 12
    check_bundle(job, client.fetch(job.id, tmp_path / "bundle", reports=True), clip)
    wait_until(
        lambda: not service.store.list_prefix(work_key(job.id, "")), seconds=10, what="the tidying up of the store"
    )
    assert [path for path in service.scratch.rglob("*") if path.is_file()] == []


def test_a_killed_service_leaves_no_process_and_goes_on_when_started_again(tmp_path: Path, clip: Path) -> None:
    data_dir, log = tmp_path / "var", tmp_path / "log"
    settings = {**SETTINGS, "training": {**SETTINGS["training"], "steps": 120}}
    with embedded_process(data_dir, log) as (server, url):
        with Client(url) as client:
            job_id = client.encode(clip, preset="fast", settings=settings).id
            wait_until(lambda: client.job(job_id).stage == "train", seconds=PATIENCE_SECONDS, what="the training")
        family = descendants_of(server.pid)
        server.kill()
        server.wait()
    assert len(family) >= 6
    wait_until(lambda: not any(is_alive(pid) for pid in family), seconds=10, what="the end of all processes")

    with embedded_process(data_dir, log) as (_, url), Client(url) as client:
        job = client.wait(job_id, timeout_seconds=PATIENCE_SECONDS)
        assert job.state == "succeeded", job.failure
        check_bundle(job, client.fetch(job.id, tmp_path / "bundle", reports=True), clip)
