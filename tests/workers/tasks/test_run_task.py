"""Tasks as a worker runs them, with real steps, in a thread of the test. `test_celery` has the worker processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from core.clock import utc_now
from core.jobs import events, job_states, videos
from core.jobs.claims import Prepared
from core.jobs.jobs import work_key
from core.presets import resolve_settings
from core.tables import JobRow
from stdo.service.resources import Failure, Video
from tests.clips import ClipMaker
from tests.core.samples import load_job, load_task, task_id_of
from tests.deployments import Deployment
from tests.processes import descendants_of, is_alive, wait_until
from tests.workers.encodes import in_process_worker, start_job, upload
from workers.sandbox.parent import StepFailedError
from workers.sandbox.stop_signal import StoppedError, StopReason
from workers.tasks import run_task as tasks
from workers.tasks.attempt import Attempt, Worker
from workers.tasks.run_task import run_task

LONG = resolve_settings("fast", {"base_stream": {"codec": "av1", "speed": "slow"}}).model_dump()
"""Settings whose encode of a clip by ffmpeg lasts long enough to be interrupted."""


@pytest.fixture
def worker(deployment: Deployment) -> Worker:
    return in_process_worker(deployment)


@pytest.fixture
def embedded_worker(embedded_deployment: Deployment) -> Worker:
    return in_process_worker(embedded_deployment)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as executor:
        yield executor


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return ClipMaker(tmp_path).make("clip.mp4")


def load_video(deployment: Deployment, video_id: str) -> Video:
    with deployment.database.snapshot() as session:
        return videos.to_resource(videos.get(session, video_id))


def scratch_is_empty(worker: Worker) -> bool:
    return not worker.tasks_folder.exists() or not any(worker.tasks_folder.iterdir())


class TestProbe:
    def test_tells_what_the_video_is(self, deployment: Deployment, worker: Worker, clip: Path) -> None:
        video_id = upload(deployment, clip)

        run_task(worker, task_id_of(deployment.database, video_id, "probe_video"))

        video = load_video(deployment, video_id)
        assert video.state == "ready"
        assert video.source is not None
        assert (video.source.frame_count, video.source.video_codec) == (12, "h264")
        assert video.source.sha256 == video.sha256
        assert scratch_is_empty(worker)

    def test_refuses_what_is_no_video(
        self, embedded_deployment: Deployment, embedded_worker: Worker, tmp_path: Path
    ) -> None:
        (tmp_path / "letter.mp4").write_text("Dear Sir or Madam")
        video_id = upload(embedded_deployment, tmp_path / "letter.mp4")

        run_task(embedded_worker, task_id_of(embedded_deployment.database, video_id, "probe_video"))

        video = load_video(embedded_deployment, video_id)
        assert video.state == "refused"
        assert video.refusal is not None
        assert video.refusal.type == "not_a_video"

    def test_refuses_what_exceeds_the_services_limits(self, embedded_deployment: Deployment, clip: Path) -> None:
        limited = embedded_deployment.settings.model_copy(update={"max_frames": 11})
        worker = Worker(
            settings=limited,
            database=embedded_deployment.database,
            store=embedded_deployment.store,
            shutdown=Event(),
        )
        video_id = upload(embedded_deployment, clip)

        run_task(worker, task_id_of(embedded_deployment.database, video_id, "probe_video"))

        refusal = load_video(embedded_deployment, video_id).refusal
        assert refusal is not None
        assert refusal.type == "video_too_long"


class TestTroubleOfTheMachine:
    def test_a_missing_file_is_tried_again_and_fails_in_the_end(self, deployment: Deployment, clip: Path) -> None:
        worker = in_process_worker(deployment)
        job_id = start_job(deployment, upload(deployment, clip))
        task_id = task_id_of(deployment.database, job_id, "prepare_job")
        deployment.store.delete_prefix("videos/")

        for attempt in range(1, worker.settings.max_attempts + 1):
            assert load_task(deployment.database, task_id).state == "queued"
            run_task(worker, task_id)
            assert load_task(deployment.database, task_id).attempt == attempt

        job = load_job(deployment.database, job_id)
        assert job.state == "failed"
        assert job.failure is not None
        assert job.failure["type"] == "infrastructure"
        assert f"tried {worker.settings.max_attempts} times" in job.failure["detail"]
        assert "The object store has nothing under" in job.failure["detail"]
        assert scratch_is_empty(worker)

    def test_an_error_that_nobody_foresaw_is_in_the_row_at_once(
        self, embedded_deployment: Deployment, embedded_worker: Worker, clip: Path
    ) -> None:
        embedded_worker.tasks_folder.parent.mkdir(parents=True, exist_ok=True)
        embedded_worker.tasks_folder.write_text("a file where a folder must be")
        job_id = start_job(embedded_deployment, upload(embedded_deployment, clip))
        task_id = task_id_of(embedded_deployment.database, job_id, "prepare_job")

        run_task(embedded_worker, task_id)

        task = load_task(embedded_deployment.database, task_id)
        assert (task.state, task.attempt, task.lease_token) == ("queued", 1, None)
        assert task.not_before > utc_now()


class TestEndOfATask:
    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tasks, "RECORD_AGAIN_SECONDS", 0.05)

    def test_is_recorded_once_the_database_answers_again(
        self,
        embedded_deployment: Deployment,
        embedded_worker: Worker,
        clip: Path,
        pool: ThreadPoolExecutor,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        job_id = start_job(embedded_deployment, upload(embedded_deployment, clip))
        task_id = task_id_of(embedded_deployment.database, job_id, "prepare_job")
        _end_without_a_database(embedded_deployment, monkeypatch)

        ended = pool.submit(run_task, embedded_worker, task_id)
        wait_until(lambda: "could not be recorded yet" in caplog.text, seconds=10, what="the first try")
        _rename_tasks(embedded_deployment, "tasks_elsewhere", "tasks")
        ended.result(timeout=10)

        task = load_task(embedded_deployment.database, task_id)
        assert (task.state, task.attempt) == ("succeeded", 1)
        assert load_job(embedded_deployment.database, job_id).state == "training"

    def test_is_given_up_when_the_lease_must_have_expired(
        self, embedded_deployment: Deployment, clip: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = embedded_deployment.settings.model_copy(update={"lease_seconds": 0.5, "heartbeat_seconds": 0.2})
        worker = Worker(
            settings=settings, database=embedded_deployment.database, store=embedded_deployment.store, shutdown=Event()
        )
        job_id = start_job(embedded_deployment, upload(embedded_deployment, clip))
        _end_without_a_database(embedded_deployment, monkeypatch)

        with pytest.raises(OperationalError):
            run_task(worker, task_id_of(embedded_deployment.database, job_id, "prepare_job"))


class TestWorkFiles:
    @pytest.mark.parametrize("end", ["failed", "cancelled"])
    def test_go_when_the_job_ends_without_a_bundle(
        self,
        deployment: Deployment,
        worker: Worker,
        clip: Path,
        monkeypatch: pytest.MonkeyPatch,
        end: str,
    ) -> None:
        job_id = start_job(deployment, upload(deployment, clip))

        def work(attempt: Attempt) -> Prepared:
            (attempt.work / "base.mp4").write_bytes(b"x")
            attempt.store_outputs()
            assert deployment.store.list_prefix(work_key(job_id, "")) != []
            if end == "cancelled":
                raise StoppedError(StopReason.CANCELLED)
            raise StepFailedError(Failure(type="not_a_video", title="Not a video", detail="a letter"))

        monkeypatch.setattr(tasks, "WORK_OF_TASK", {"prepare_job": work})
        run_task(worker, task_id_of(deployment.database, job_id, "prepare_job"))

        assert load_job(deployment.database, job_id).state == end
        assert deployment.store.list_prefix(work_key(job_id, "")) == []

    def test_go_when_the_worker_learns_late_that_the_job_has_ended(
        self, deployment: Deployment, worker: Worker, clip: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job_id = start_job(deployment, upload(deployment, clip))

        def work(attempt: Attempt) -> Prepared:
            with deployment.database.transaction() as session:
                job_states.reap(session, now=utc_now(), max_attempts=1, include_live=True)
            (attempt.work / "base.mp4").write_bytes(b"x")
            attempt.store_outputs()
            return Prepared(network_count=1)

        monkeypatch.setattr(tasks, "WORK_OF_TASK", {"prepare_job": work})
        run_task(worker, task_id_of(deployment.database, job_id, "prepare_job"))

        assert load_job(deployment.database, job_id).state == "failed"
        assert deployment.store.list_prefix(work_key(job_id, "")) == []


def _end_without_a_database(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the work of a prepare_job be to make the database fail."""

    def work(_: Attempt) -> Prepared:
        _rename_tasks(deployment, "tasks", "tasks_elsewhere")
        return Prepared(network_count=1)

    monkeypatch.setattr(tasks, "WORK_OF_TASK", {"prepare_job": work})


def _rename_tasks(deployment: Deployment, old: str, new: str) -> None:
    with deployment.database.transaction() as session:
        session.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))


class _RunningPrepare:
    """A prepare step in the middle of its encode by ffmpeg."""

    def __init__(self, deployment: Deployment, worker: Worker, pool: ThreadPoolExecutor, clip: Path) -> None:
        self.deployment = deployment
        self.job_id = start_job(deployment, upload(deployment, clip), LONG)
        self.task_id = task_id_of(deployment.database, self.job_id, "prepare_job")
        self._others = descendants_of(os.getpid()).keys()
        self.ended: Future[None] = pool.submit(run_task, worker, self.task_id)
        wait_until(lambda: bool(self._processes("base.mp4")), seconds=120, what="the encode by ffmpeg")
        self.family = self._processes("")
        (self.step,) = self._processes("workers step")

    def _processes(self, word: str) -> set[int]:
        """Processes below this one that have started since, with this word in their command lines."""
        family = descendants_of(os.getpid())
        return {pid for pid, command in family.items() if pid not in self._others and word in command}

    def job(self) -> JobRow:
        return load_job(self.deployment.database, self.job_id)

    def is_gone(self) -> bool:
        return not any(is_alive(pid) for pid in self.family)


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ClipMaker(tmp_path_factory.mktemp("clips")).make("long.mp4", frames=500, size="640x360")


@pytest.fixture
def prepare(
    embedded_deployment: Deployment, pool: ThreadPoolExecutor, long_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> _RunningPrepare:
    monkeypatch.setenv("STDO_S3_SECRET_ACCESS_KEY", "a secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    settings = embedded_deployment.settings.model_copy(update={"heartbeat_seconds": 0.2})
    worker = Worker(
        settings=settings, database=embedded_deployment.database, store=embedded_deployment.store, shutdown=Event()
    )
    return _RunningPrepare(embedded_deployment, worker, pool, long_clip)


class TestRunningStep:
    def test_cancelling_stops_it_and_leaves_no_process_and_no_file(self, prepare: _RunningPrepare) -> None:
        for pid in prepare.family:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            assert b"STDO_" not in environment
            assert b"AWS_" not in environment
            assert b"a secret" not in environment
        assert os.getsid(prepare.step) == os.getpgid(prepare.step) == prepare.step
        limits = Path(f"/proc/{prepare.step}/limits").read_text()
        assert next(line for line in limits.splitlines() if line.startswith("Max core file size")).split()[4] == "0"

        with prepare.deployment.database.transaction() as session:
            job_states.cancel(session, prepare.job_id, now=utc_now())
        prepare.ended.result(timeout=30)

        assert prepare.is_gone()
        assert prepare.job().state == "cancelled"
        assert list(prepare.deployment.settings.scratch_dir.glob("tasks/*")) == []
        assert prepare.deployment.store.list_prefix(work_key(prepare.job_id, "")) == []

    def test_a_lost_lease_stops_it_and_nothing_more_is_written(self, prepare: _RunningPrepare) -> None:
        with prepare.deployment.database.transaction() as session:
            job_states.reap(session, now=utc_now(), max_attempts=3, include_live=True)
        taken_back = load_task(prepare.deployment.database, prepare.task_id)
        prepare.ended.result(timeout=30)

        assert prepare.is_gone()
        task = load_task(prepare.deployment.database, prepare.task_id)
        assert (task.state, task.attempt, task.not_before) == ("queued", 1, taken_back.not_before)
        assert prepare.job().failure is None
        assert prepare.deployment.store.list_prefix(work_key(prepare.job_id, "")) == []

    def test_one_that_is_killed_from_outside_is_tried_again(self, prepare: _RunningPrepare) -> None:
        os.kill(prepare.step, signal.SIGKILL)
        prepare.ended.result(timeout=30)

        assert prepare.is_gone()
        task = load_task(prepare.deployment.database, prepare.task_id)
        assert (task.state, task.attempt, task.lease_token) == ("queued", 1, None)
        with prepare.deployment.database.snapshot() as session:
            messages = [event.message for event in events.list_after(session, prepare.job_id, 0)]
        assert any("for want of memory" in message for message in messages if message)
