"""Parts as a worker runs them, in a thread of the test. `test_celery` has the worker processes."""

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

from core.callers import LOCAL_CALLER
from core.clock import utc_now
from core.jobs import events, job_states, videos
from core.jobs.claims import Finished, Made, PartResult, Planned, Probed
from core.jobs.part_kinds import PART_KINDS, files_of, outputs
from core.presets import resolve_settings
from core.storage.keys import source_key, work_key
from core.tables import JobRow, QueueName
from stdo.errors import InvalidManifestError
from stdo.service.resources import Failure, Video
from tests.clips import ClipMaker
from tests.core.samples import SOURCE, claim, load_job, load_part, part_id_of, sample_bundle, succeed
from tests.deployments import Deployment
from tests.processes import descendants_of, is_alive, wait_until
from tests.workers.encodes import in_process_worker, start_job, upload
from workers.sandbox.parent import PartFailedError
from workers.sandbox.stop_signal import StoppedError, StopReason
from workers.tasks import run_task as tasks
from workers.tasks.attempt import Attempt, Worker
from workers.tasks.run_task import run_first_in_line, run_task
from workers.work_folder import WorkFolder

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


def make_outputs(attempt: Attempt) -> None:
    """Write what a part makes, each file with its own name as content."""
    for name in output_names(attempt):
        (attempt.work / name).write_text(name)


def output_names(attempt: Attempt) -> list[str]:
    number = attempt.claim.training_number
    made = outputs(PART_KINDS[attempt.claim.kind].makes, () if number is None else (number,))
    return [name for output in made for name in files_of(output)]


def probed_upload(deployment: Deployment, clip: Path) -> str:
    """The id of a video that counts as probed, with stand-ins for the probe's files."""
    video_id = upload(deployment, clip)
    held = claim(deployment.database, video_id, "probe")
    for name in files_of("source_info"):
        deployment.store.put_file(held.output_prefix + name, clip)
    succeed(deployment.database, held, Probed(source=SOURCE))
    return video_id


def load_video(deployment: Deployment, video_id: str) -> Video:
    with deployment.database.snapshot() as session:
        return videos.to_resource(videos.get(session, LOCAL_CALLER, video_id))


def scratch_is_empty(worker: Worker) -> bool:
    return not worker.tasks_folder.exists() or not any(worker.tasks_folder.iterdir())


class TestProbe:
    def test_tells_what_the_video_is(self, deployment: Deployment, worker: Worker, clip: Path) -> None:
        video_id = upload(deployment, clip)

        run_task(worker, part_id_of(deployment.database, video_id, "probe"))

        video = load_video(deployment, video_id)
        assert video.state == "ready"
        assert video.source is not None
        assert (video.source.frame_count, video.source.video_codec) == (12, "h264")
        assert video.source.sha256 == video.sha256
        assert scratch_is_empty(worker)
        with deployment.database.snapshot() as session:
            prefix = videos.get(session, LOCAL_CALLER, video_id).probe_prefix
        assert prefix is not None
        kept = sorted(prefix + name for name in files_of("source_info"))
        assert deployment.store.list_prefix(f"videos/{video_id}/") == [*kept, source_key(video_id)]

    def test_refuses_what_is_no_video(
        self, embedded_deployment: Deployment, embedded_worker: Worker, tmp_path: Path
    ) -> None:
        (tmp_path / "letter.mp4").write_text("Dear Sir or Madam")
        video_id = upload(embedded_deployment, tmp_path / "letter.mp4")

        run_task(embedded_worker, part_id_of(embedded_deployment.database, video_id, "probe"))

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

        run_task(worker, part_id_of(embedded_deployment.database, video_id, "probe"))

        refusal = load_video(embedded_deployment, video_id).refusal
        assert refusal is not None
        assert refusal.type == "video_too_long"

    def test_leaves_nothing_of_a_video_that_is_deleted_meanwhile(
        self, embedded_deployment: Deployment, embedded_worker: Worker, clip: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        video_id = upload(embedded_deployment, clip)

        def work(attempt: Attempt) -> PartResult:
            make_outputs(attempt)
            with embedded_deployment.database.transaction() as session:
                prefixes = videos.remove(session, LOCAL_CALLER, video_id)
                for prefix in prefixes:
                    embedded_deployment.store.delete_prefix(prefix)
            return Probed(source=SOURCE)

        monkeypatch.setattr(tasks, "WORK_OF_PART", {"probe": work})
        run_task(embedded_worker, part_id_of(embedded_deployment.database, video_id, "probe"))

        assert embedded_deployment.store.list_prefix(f"videos/{video_id}/") == []


class _Stub:
    """The work of all parts without any: each writes what it makes, and tells what it was given."""

    def __init__(self) -> None:
        self.given: dict[str, set[str]] = {}
        """Names of the files in the work folder, by part."""
        self.devices: dict[str, str] = {}

    def work(self, attempt: Attempt) -> PartResult:
        claim = attempt.claim
        name = claim.kind if claim.training_number is None else f"{claim.kind} {claim.training_number}"
        assert attempt.source.exists()
        self.given[name] = {path.name for path in attempt.work.iterdir()}
        self.devices[name] = attempt.device
        make_outputs(attempt)
        (attempt.work / "checkpoint.tmp").write_text("nobody needs this")
        if claim.kind == "probe":
            return Probed(source=SOURCE)
        if claim.kind == "plan":
            return Planned(training_count=2)
        return Finished(bundle=sample_bundle(attempt.job_id)) if claim.kind == "finish" else Made()

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tasks, "WORK_OF_PART", dict.fromkeys(PART_KINDS, self.work))


class TestFiles:
    @pytest.fixture(autouse=True)
    def stub(self, monkeypatch: pytest.MonkeyPatch) -> _Stub:
        stub = _Stub()
        stub.install(monkeypatch)
        return stub

    def test_each_part_gets_what_it_needs_and_nothing_else(
        self, deployment: Deployment, worker: Worker, clip: Path, stub: _Stub
    ) -> None:
        video_id = upload(deployment, clip)
        job_id = start_job(deployment, video_id)
        queues: tuple[QueueName, ...] = ("cpu", "cpu", "gpu", "gpu", "gpu", "cpu")
        for queue in queues:
            run_first_in_line(worker, queue)

        assert load_job(deployment.database, job_id).state == "succeeded"
        info = {"source_info.json", "frame_times.npz"}
        stream = {"base.mp4", "base.m3u8", "base_stream.json"}
        assert stub.given == {
            "probe": set(),
            "encode": info,
            "plan": info | stream,
            "train 0": {*info, *stream, "plan.npz"},
            "train 1": {*info, *stream, "plan.npz"},
            "finish": {*info, *stream, "plan.npz", "scores.npz", "training_0.safetensors", "training_1.safetensors"},
        }
        # The job is over: what passed between its parts is gone, what the probe made stays for the next job.
        assert deployment.store.list_prefix(f"jobs/{job_id}/") == []
        assert len(deployment.store.list_prefix(f"videos/{video_id}/probe/")) == 2

    def test_what_a_part_does_not_make_is_not_kept(self, deployment: Deployment, worker: Worker, clip: Path) -> None:
        job_id = start_job(deployment, probed_upload(deployment, clip))
        run_first_in_line(worker, "cpu")
        assert deployment.store.list_prefix(f"jobs/{job_id}/") == [
            work_key(job_id, f"encode-1/{name}") for name in ("base.m3u8", "base.mp4", "base_stream.json")
        ]

    @pytest.mark.parametrize(("queue", "device"), [("cpu", "cpu"), ("gpu", "cuda:7")])
    def test_the_finish_uses_a_gpu_where_the_operator_says_so(
        self, embedded_deployment: Deployment, clip: Path, stub: _Stub, queue: QueueName, device: str
    ) -> None:
        worker = Worker(
            settings=embedded_deployment.settings.model_copy(update={"finish_queue": queue, "device": "cuda:7"}),
            database=embedded_deployment.database,
            store=embedded_deployment.store,
            shutdown=Event(),
        )
        job_id = start_job(embedded_deployment, probed_upload(embedded_deployment, clip))
        queues: tuple[QueueName, ...] = ("cpu", "gpu", "gpu", "gpu", queue)
        for each in queues:
            run_first_in_line(worker, each)

        assert load_job(embedded_deployment.database, job_id).state == "succeeded"
        assert stub.devices["train 0"] == "cuda:7"
        assert stub.devices["finish"] == device


def test_the_names_of_outputs_are_those_of_the_work_folder() -> None:
    folder = WorkFolder(root=Path("work"))
    named = {
        "base_stream": {folder.base_stream, folder.playlist, folder.base_stream_info},
        "plan": {folder.plan},
        "scores": {folder.scores},
        "training_3": {folder.training(3)},
    }
    assert {name: {folder.root / file for file in files_of(name)} for name in named} == named


def test_a_bundle_that_readers_would_refuse_fails_the_job_at_once(
    deployment: Deployment, worker: Worker, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = _Stub()

    def work(attempt: Attempt) -> PartResult:
        if attempt.claim.kind == "finish":
            raise InvalidManifestError("The manifest breaks the format: two files have the same path.")
        return stub.work(attempt)

    monkeypatch.setattr(tasks, "WORK_OF_PART", dict.fromkeys(PART_KINDS, work))
    job_id = start_job(deployment, probed_upload(deployment, clip))
    queues: tuple[QueueName, ...] = ("cpu", "gpu", "gpu", "gpu", "cpu")
    for queue in queues:
        run_first_in_line(worker, queue)

    failure = load_job(deployment.database, job_id).failure
    assert failure is not None
    assert failure["type"] == "invalid_bundle"
    assert "two files have the same path" in failure["detail"]


class TestTroubleOfTheMachine:
    def test_a_missing_file_is_tried_again_and_fails_in_the_end(self, deployment: Deployment, clip: Path) -> None:
        worker = in_process_worker(deployment)
        job_id = start_job(deployment, probed_upload(deployment, clip))
        part_id = part_id_of(deployment.database, job_id, "encode")
        deployment.store.delete_prefix("videos/")

        for attempt in range(1, worker.settings.max_attempts + 1):
            assert load_part(deployment.database, part_id).state == "queued"
            run_task(worker, part_id)
            assert load_part(deployment.database, part_id).attempt == attempt

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
        job_id = start_job(embedded_deployment, probed_upload(embedded_deployment, clip))
        part_id = part_id_of(embedded_deployment.database, job_id, "encode")

        run_task(embedded_worker, part_id)

        task = load_part(embedded_deployment.database, part_id)
        assert (task.state, task.attempt, task.lease_token) == ("queued", 1, None)
        assert task.not_before > utc_now()


class TestEndOfAPart:
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
        job_id = start_job(embedded_deployment, probed_upload(embedded_deployment, clip))
        part_id = part_id_of(embedded_deployment.database, job_id, "encode")
        _end_without_a_database(embedded_deployment, monkeypatch)

        ended = pool.submit(run_task, embedded_worker, part_id)
        wait_until(lambda: "could not be recorded yet" in caplog.text, seconds=10, what="the first try")
        _rename_parts(embedded_deployment, "parts_elsewhere", "parts")
        ended.result(timeout=10)

        task = load_part(embedded_deployment.database, part_id)
        assert (task.state, task.attempt) == ("succeeded", 1)
        assert load_job(embedded_deployment.database, job_id).state == "planning"

    def test_is_given_up_when_the_lease_must_have_expired(
        self, embedded_deployment: Deployment, clip: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = embedded_deployment.settings.model_copy(update={"lease_seconds": 0.5, "heartbeat_seconds": 0.2})
        worker = Worker(
            settings=settings, database=embedded_deployment.database, store=embedded_deployment.store, shutdown=Event()
        )
        job_id = start_job(embedded_deployment, probed_upload(embedded_deployment, clip))
        _end_without_a_database(embedded_deployment, monkeypatch)

        with pytest.raises(OperationalError):
            run_task(worker, part_id_of(embedded_deployment.database, job_id, "encode"))


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
        job_id = start_job(deployment, probed_upload(deployment, clip))

        def work(attempt: Attempt) -> Made:
            make_outputs(attempt)
            attempt.store_outputs()
            assert deployment.store.list_prefix(work_key(job_id, "")) != []
            if end == "cancelled":
                raise StoppedError(StopReason.CANCELLED)
            raise PartFailedError(Failure(type="not_a_video", title="Not a video", detail="a letter"))

        monkeypatch.setattr(tasks, "WORK_OF_PART", {"encode": work})
        run_task(worker, part_id_of(deployment.database, job_id, "encode"))

        assert load_job(deployment.database, job_id).state == end
        assert deployment.store.list_prefix(work_key(job_id, "")) == []

    def test_go_when_the_worker_learns_late_that_the_job_has_ended(
        self, deployment: Deployment, worker: Worker, clip: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job_id = start_job(deployment, probed_upload(deployment, clip))

        def work(attempt: Attempt) -> Made:
            with deployment.database.transaction() as session:
                job_states.reap(session, now=utc_now(), max_attempts=1, include_live=True)
            make_outputs(attempt)
            return Made()

        monkeypatch.setattr(tasks, "WORK_OF_PART", {"encode": work})
        run_task(worker, part_id_of(deployment.database, job_id, "encode"))

        assert load_job(deployment.database, job_id).state == "failed"
        assert deployment.store.list_prefix(work_key(job_id, "")) == []


def _end_without_a_database(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the work of an encode be to make the database fail."""

    def work(attempt: Attempt) -> Made:
        make_outputs(attempt)
        _rename_parts(deployment, "parts", "parts_elsewhere")
        return Made()

    monkeypatch.setattr(tasks, "WORK_OF_PART", {"encode": work})


def _rename_parts(deployment: Deployment, old: str, new: str) -> None:
    with deployment.database.transaction() as session:
        session.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))


class _RunningEncode:
    """An encode in the middle of its work by ffmpeg."""

    def __init__(self, deployment: Deployment, worker: Worker, pool: ThreadPoolExecutor, clip: Path) -> None:
        self.deployment = deployment
        video_id = upload(deployment, clip)
        self.job_id = start_job(deployment, video_id, LONG)
        run_task(worker, part_id_of(deployment.database, video_id, "probe"))
        self.part_id = part_id_of(deployment.database, self.job_id, "encode")
        self._others = descendants_of(os.getpid()).keys()
        self.ended: Future[bool] = pool.submit(run_task, worker, self.part_id)
        wait_until(lambda: bool(self._processes("base.mp4")), seconds=120, what="the encode by ffmpeg")
        self.family = self._processes("")
        (self.process,) = self._processes("workers part")

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
def running_encode(
    embedded_deployment: Deployment, pool: ThreadPoolExecutor, long_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> _RunningEncode:
    monkeypatch.setenv("STDO_S3_SECRET_ACCESS_KEY", "a secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    settings = embedded_deployment.settings.model_copy(update={"heartbeat_seconds": 0.2})
    worker = Worker(
        settings=settings, database=embedded_deployment.database, store=embedded_deployment.store, shutdown=Event()
    )
    return _RunningEncode(embedded_deployment, worker, pool, long_clip)


class TestRunningPart:
    def test_cancelling_stops_it_and_leaves_no_process_and_no_file(self, running_encode: _RunningEncode) -> None:
        for pid in running_encode.family:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            assert b"STDO_" not in environment
            assert b"AWS_" not in environment
            assert b"a secret" not in environment
        assert os.getsid(running_encode.process) == os.getpgid(running_encode.process) == running_encode.process
        limits = Path(f"/proc/{running_encode.process}/limits").read_text()
        assert next(line for line in limits.splitlines() if line.startswith("Max core file size")).split()[4] == "0"

        with running_encode.deployment.database.transaction() as session:
            job_states.cancel(session, LOCAL_CALLER, running_encode.job_id, now=utc_now())
        running_encode.ended.result(timeout=30)

        assert running_encode.is_gone()
        assert running_encode.job().state == "cancelled"
        assert list(running_encode.deployment.settings.scratch_dir.glob("tasks/*")) == []
        assert running_encode.deployment.store.list_prefix(work_key(running_encode.job_id, "")) == []

    def test_a_lost_lease_stops_it_and_nothing_more_is_written(self, running_encode: _RunningEncode) -> None:
        with running_encode.deployment.database.transaction() as session:
            job_states.reap(session, now=utc_now(), max_attempts=3, include_live=True)
        taken_back = load_part(running_encode.deployment.database, running_encode.part_id)
        running_encode.ended.result(timeout=30)

        assert running_encode.is_gone()
        task = load_part(running_encode.deployment.database, running_encode.part_id)
        assert (task.state, task.attempt, task.not_before) == ("queued", 1, taken_back.not_before)
        assert running_encode.job().failure is None
        assert running_encode.deployment.store.list_prefix(work_key(running_encode.job_id, "")) == []

    def test_one_that_is_killed_from_outside_is_tried_again(self, running_encode: _RunningEncode) -> None:
        os.kill(running_encode.process, signal.SIGKILL)
        running_encode.ended.result(timeout=30)

        assert running_encode.is_gone()
        task = load_part(running_encode.deployment.database, running_encode.part_id)
        assert (task.state, task.attempt, task.lease_token) == ("queued", 1, None)
        with running_encode.deployment.database.snapshot() as session:
            messages = [event.message for event in events.list_after(session, LOCAL_CALLER, running_encode.job_id, 0)]
        assert any("for want of memory" in message for message in messages if message)
