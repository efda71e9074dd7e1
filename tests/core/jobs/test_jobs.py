from __future__ import annotations

import pytest

from core.callers import LOCAL_CALLER
from core.errors import JobActiveError, JobNotFoundError, VideoNotFoundError, VideoRefusedError
from core.jobs import job_states, jobs
from core.jobs.claims import Finished, Made
from core.jobs.progress import StageReport
from core.presets import resolve_settings
from stdo.service.resources import Job
from tests.core.samples import (
    MAX_ATTEMPTS,
    NOON,
    REFUSAL,
    after,
    claim,
    new_job,
    new_video,
    sample_bundle,
    succeed,
    training_job,
)
from tests.deployments import Deployment


def resource(deployment: Deployment, job_id: str) -> Job:
    with deployment.database.snapshot() as session:
        return jobs.get_resource(session, LOCAL_CALLER, job_id)


class TestCreate:
    def test_keeps_every_setting(self, deployment: Deployment) -> None:
        job_id = new_job(deployment.database, scale=4, method="jstdo", training={"steps": 7})
        job = resource(deployment, job_id)
        expected = resolve_settings("fast", {"scale": 4, "method": "jstdo", "training": {"steps": 7}})
        assert job.settings == expected.model_dump(mode="json")
        assert (job.state, job.preset, job.progress, job.stage) == ("queued", "fast", 0.0, None)
        assert (job.created_at, job.started_at, job.finished_at) == (NOON, None, None)
        assert (job.failure, job.bundle, job.stage_progress, job.cancel_requested) == (None, None, None, False)
        held = claim(deployment.database, job_id, "encode")
        assert held.settings == expected

    def test_of_no_video(self, deployment: Deployment) -> None:
        with pytest.raises(VideoNotFoundError):
            new_job(deployment.database, video_id="0" * 32)

    def test_of_a_refused_video(self, deployment: Deployment) -> None:
        database = deployment.database
        video_id = new_video(database)
        held = claim(database, video_id, "probe")
        with database.transaction() as session:
            job_states.fail(session, held, REFUSAL, now=after(1), infrastructure=False, max_attempts=MAX_ATTEMPTS)
        with pytest.raises(VideoRefusedError, match=REFUSAL.detail):
            new_job(database, video_id=video_id)


class TestResource:
    def test_while_it_works(self, deployment: Deployment) -> None:
        database = deployment.database
        job_id = new_job(database)
        held = claim(database, job_id, "encode", seconds=1)
        for seconds, done in ((2, 0), (4, 10)):
            report = StageReport(stage="encode", done=done, total=40, unit="frames")
            with database.transaction() as session:
                job_states.heartbeat(session, held, now=after(seconds), report=report)
        job = resource(deployment, job_id)
        assert (job.state, job.stage, job.started_at) == ("encoding", "encode", after(1))
        assert job.stage_progress is not None
        assert job.stage_progress.model_dump() == {"done": 10, "total": 40, "unit": "frames"}
        assert job.speed == pytest.approx(5)
        assert job.eta_seconds is None
        assert job.progress == 0.06 / 4

    def test_with_its_bundle(self, deployment: Deployment) -> None:
        database = deployment.database
        job_id = training_job(database, training_count=1)
        succeed(database, claim(database, job_id, "train", 0), Made())
        succeed(database, claim(database, job_id, "finish"), Finished(bundle=sample_bundle(job_id)))
        job = resource(deployment, job_id)
        assert job.bundle is not None
        assert job.bundle.manifest_url == f"/v1/jobs/{job_id}/bundle/manifest.json"
        assert job.bundle.bytes == {
            "base_stream": 500,
            "networks": 201,
            "patch_index": 7,
            "tables": 160,
            "manifest": 2000,
            "total": 2868,
        }
        assert job.bundle.quality["restored"]["psnr_y"] == 40.0
        assert job.bundle.quality["bicubic"]["psnr_y"] == 30.0
        assert job.bundle.quality["lanczos"]["psnr_y"] is None
        assert set(job.bundle.quality) == {"restored", "bicubic", "lanczos", "f0"}
        with database.snapshot() as session:
            assert jobs.list_page(session, LOCAL_CALLER).items == (job,)

    def test_of_no_job(self, deployment: Deployment) -> None:
        with pytest.raises(JobNotFoundError):
            resource(deployment, "0" * 32)


class TestRemove:
    def test_of_an_ended_job(self, deployment: Deployment) -> None:
        database = deployment.database
        job_id = new_job(database)
        with database.transaction() as session:
            job_states.cancel(session, LOCAL_CALLER, job_id, now=after(1))
        with database.transaction() as session:
            assert jobs.remove(session, LOCAL_CALLER, job_id) == (f"jobs/{job_id}/", f"bundles/{job_id}/")
        with pytest.raises(JobNotFoundError):
            resource(deployment, job_id)

    def test_is_refused_before_its_end(self, deployment: Deployment) -> None:
        database = deployment.database
        job_id = training_job(database)
        with pytest.raises(JobActiveError, match="training"), database.transaction() as session:
            jobs.remove(session, LOCAL_CALLER, job_id)
        assert resource(deployment, job_id).state == "training"

    def test_of_no_job(self, deployment: Deployment) -> None:
        with pytest.raises(JobNotFoundError), deployment.database.transaction() as session:
            jobs.remove(session, LOCAL_CALLER, "0" * 32)
