"""Worker processes, as an operator starts and stops them."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from safetensors import safe_open

from core.callers import LOCAL_CALLER
from core.clock import utc_now
from core.jobs import job_states
from core.storage.keys import work_key
from core.task_queue import TASK_NAME, queue_depth
from tests.clips import ClipMaker
from tests.core.samples import load_job, load_part, part_id_of
from tests.deployments import Deployment
from tests.processes import descendants_of, is_alive, wait_until
from tests.workers.encodes import TINY, start_job, upload, worker_process

ENDLESS = {
    **TINY,
    "method": "awdnn",
    "groups": {"count": 1},
    "training": {"steps": 1_000_000, "batch_size": 32, "checkpoint_interval_seconds": 0.2},
}
"""Steps so slow that STEPS of them take longer than the first heartbeat after a start."""
STEPS = 25
QUICK_HEARTBEATS = {"STDO_HEARTBEAT_SECONDS": "0.5"}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "worker.log"


def stored_checkpoint_step(deployment: Deployment, job_id: str, folder: Path) -> int:
    """Steps done in the checkpoint that the store has."""
    path = folder / "checkpoint.safetensors"
    deployment.store.get_file(work_key(job_id, "checkpoint_0.safetensors"), path)
    with safe_open(path, framework="pt") as stored:
        return int(stored.metadata()["step"])


def check_log(deployment: Deployment, log: Path) -> None:
    """For machines where deployed, for people where embedded."""
    # Celery's signal handler writes past all logging.
    lines = [line for line in log.read_text().splitlines() if line and line != "worker: Warm shutdown (MainProcess)"]
    assert lines
    for line in lines:
        if deployment.settings.mode == "deployed":
            assert json.loads(line)["message"]
        else:
            assert not line.startswith("{")


def cancel(deployment: Deployment, job_id: str) -> None:
    with deployment.database.transaction() as session:
        job_states.cancel(session, LOCAL_CALLER, job_id, now=utc_now())


def test_a_stopped_worker_gives_its_part_back_and_another_resumes_it(
    deployment: Deployment, tmp_path: Path, log: Path
) -> None:
    clip = ClipMaker(tmp_path).make("clip.mp4")
    job_id = start_job(deployment, upload(deployment, clip), ENDLESS)
    database = deployment.database

    with worker_process(deployment, "cpu", "gpu", log=log, environment=QUICK_HEARTBEATS) as first:
        wait_until(lambda: load_job(database, job_id).state == "training", seconds=240, what="the training")
        part_id = part_id_of(database, job_id, "train", 0)
        wait_until(lambda: (load_part(database, part_id).stage_done or 0) >= STEPS, seconds=180, what="some steps")
        # The worker is busy, so that it leaves this message to others.
        waiting = start_job(deployment, upload(deployment, clip))
        family = descendants_of(first.pid)
        first.send_signal(signal.SIGTERM)
        assert first.wait(timeout=30) == 0, log.read_text()
    check_log(deployment, log)

    assert not any(is_alive(pid) for pid in family)
    task = load_part(database, part_id)
    assert (task.state, task.attempt, task.lease_token) == ("queued", 0, None)
    assert queue_depth(deployment.settings, "gpu") == 1
    assert load_part(database, part_id_of(database, waiting, "encode")).attempt == 0
    done = stored_checkpoint_step(deployment, job_id, tmp_path)
    assert done > STEPS / 2

    cancel(deployment, waiting)
    elsewhere = tmp_path / "another_machine"
    # Embedded, the folder is the service; deployed, another machine has another one.
    others = {} if deployment.settings.mode == "embedded" else {"STDO_DATA_DIR": str(elsewhere)}
    with worker_process(deployment, "gpu", log=log, environment={**QUICK_HEARTBEATS, **others}):
        wait_until(lambda: bool(load_part(database, part_id).stage_done), seconds=180, what="the resumed training")
        resumed = load_part(database, part_id)
        assert resumed.attempt == 1
        assert resumed.stage_done is not None
        assert resumed.stage_done >= done
        cancel(deployment, job_id)
        wait_until(lambda: load_job(database, job_id).state == "cancelled", seconds=30, what="the cancellation")


def test_a_killed_worker_takes_its_part_along_and_it_is_taken_back(
    embedded_deployment: Deployment, tmp_path: Path, log: Path
) -> None:
    clip = ClipMaker(tmp_path).make("long.mp4", frames=500, size="640x360")
    slow = {"base_stream": {"codec": "av1", "speed": "slow"}}
    job_id = start_job(embedded_deployment, upload(embedded_deployment, clip), slow)
    database = embedded_deployment.database
    part_id = part_id_of(database, job_id, "encode")

    with worker_process(
        embedded_deployment, "cpu", log=log, environment={**QUICK_HEARTBEATS, "STDO_LEASE_SECONDS": "2"}
    ) as worker:
        wait_until(
            lambda: any("base.mp4" in command for command in descendants_of(worker.pid).values()),
            seconds=120,
            what="the encode by ffmpeg",
        )
        family = descendants_of(worker.pid)
        worker.kill()
        worker.wait()

    wait_until(lambda: not any(is_alive(pid) for pid in family), seconds=5, what="the end of all")

    def is_taken_back() -> bool:
        with database.transaction() as session:
            return job_states.reap(session, now=utc_now(), max_attempts=3) == 1

    wait_until(is_taken_back, seconds=10, what="the end of the lease")
    task = load_part(database, part_id)
    assert (task.state, task.attempt) == ("queued", 1)


def test_a_message_that_comes_again_and_again_is_heeded_once(
    embedded_deployment: Deployment, tmp_path: Path, log: Path
) -> None:
    video_id = upload(embedded_deployment, ClipMaker(tmp_path).make("clip.mp4"))
    part_id = part_id_of(embedded_deployment.database, video_id, "probe")
    for _ in range(5):
        embedded_deployment.celery.send_task(TASK_NAME, args=["cpu"], queue="cpu")
    assert queue_depth(embedded_deployment.settings, "cpu") == 6

    with worker_process(embedded_deployment, "cpu", log=log, concurrency=3):
        wait_until(
            lambda: load_part(embedded_deployment.database, part_id).state == "succeeded",
            seconds=120,
            what="the probe",
        )
        wait_until(
            lambda: log.read_text().count("nothing waits in the queue cpu any more") == 5, seconds=30, what="the rest"
        )

    assert load_part(embedded_deployment.database, part_id).attempt == 1
