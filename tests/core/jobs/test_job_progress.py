from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.jobs import job_states
from core.jobs.claims import Claim, Finished, Made, Prepared
from core.jobs.progress import StageReport
from stdo.service.resources import STAGES
from tests.core.samples import (
    LEASE,
    NOON,
    after,
    beat,
    claim,
    load_job,
    new_job,
    part_id_of,
    reap,
    sample_bundle,
    succeed,
    training_job,
)
from tests.deployments import Deployment

steps = st.lists(
    st.tuples(st.integers(0, 1), st.one_of(st.none(), st.integers(0, 100)), st.integers(0, 30)), max_size=12
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_progress_never_goes_back_whatever_workers_say(
    embedded_deployment: Deployment, steps: list[tuple[int, int | None, int]]
) -> None:
    """A network's worker reports any number of steps, or (None) is taken its task away."""
    database = embedded_deployment.database
    job_id = training_job(database)
    now = NOON
    held: dict[int, Claim | None] = {0: None, 1: None}
    before = load_job(database, job_id).progress
    for network, done, seconds in steps:
        now += timedelta(seconds=seconds)
        with database.transaction() as session:
            if done is None:
                job_states.reap(session, now=now, max_attempts=100, include_live=True)
                held = dict.fromkeys(held)
                continue
            one = held[network] or job_states.claim(
                session, part_id_of(database, job_id, "train", network), now=now, lease=LEASE
            )
            assert one is not None
            report = StageReport(stage="train", done=done, total=100, unit="steps")
            assert not job_states.heartbeat(session, one, now=now, report=report).lost
            held[network] = one
        job = load_job(database, job_id)
        assert before <= job.progress <= 1
        assert job.eta_seconds is None or job.eta_seconds >= 0
        assert job.speed is None or job.speed > 0
        before = job.progress


def test_a_pause_at_the_same_step_is_no_speed_of_its_own(embedded_deployment: Deployment) -> None:
    database = embedded_deployment.database
    job_id = training_job(database, training_count=1)
    held = claim(database, job_id, "train", 0)
    for seconds, done in ((0, 0), (5, 0), (10, 100)):
        report = StageReport(stage="train", done=done, total=1000, unit="steps")
        with database.transaction() as session:
            job_states.heartbeat(session, held, now=after(seconds), report=report)
    # 100 steps took all 10 seconds since the last step was seen.
    assert load_job(database, job_id).speed == 10


class TestJob:
    def test_of_every_stage(self, deployment: Deployment) -> None:
        database = deployment.database
        job_id = new_job(database)
        seen = [0.0]

        def report(held: Claim, stage: str, at: float, done: int = 50) -> None:
            beat(deployment.database, held, at, StageReport(stage=stage, done=done, total=100, unit="frames"))  # type: ignore[arg-type]
            job = load_job(database, job_id)
            assert job.stage == stage
            assert job.progress > seen[-1]
            seen.append(job.progress)

        prepare = claim(database, job_id, "encode")
        for number, stage in enumerate(("probe", "base_stream", "score", "groups")):
            report(prepare, stage, number * 10)
        assert seen[1:] == pytest.approx([0.005, 0.035, 0.10, 0.145])
        succeed(database, prepare, Prepared(training_count=2), seconds=45)
        networks = [claim(database, job_id, "train", index, seconds=50) for index in range(2)]
        report(networks[0], "train", 60)
        assert seen[-1] == pytest.approx(0.15 + 0.65 / 4)
        report(networks[1], "train", 60)
        assert seen[-1] == pytest.approx(0.15 + 0.65 / 2)
        job = load_job(database, job_id)
        assert (job.stage_done, job.stage_total, job.stage_unit) == (100, 200, "frames")
        for held in networks:
            succeed(database, held, Made(), seconds=70)
        finish = claim(database, job_id, "finish", seconds=80)
        for number, stage in enumerate(("export", "evaluate", "publish")):
            report(finish, stage, 80 + number * 10)
        assert seen[-3:] == pytest.approx([0.81, 0.895, 0.985])
        succeed(database, finish, Finished(bundle=sample_bundle(job_id)), seconds=105)
        assert load_job(database, job_id).stage_seconds == pytest.approx(
            {
                **dict.fromkeys(("probe", "base_stream", "score"), 10.0),
                "groups": 15.0,
                "train": 20.0,
                **dict.fromkeys(("export", "evaluate"), 10.0),
                "publish": 5.0,
            }
        )
        assert set(load_job(database, job_id).stage_seconds) == set(STAGES)

    def test_never_goes_back_when_a_worker_dies(self, deployment: Deployment) -> None:
        database = deployment.database
        job_id = training_job(database, training_count=1)
        held = claim(database, job_id, "train", 0)
        beat(deployment.database, held, 0, StageReport(stage="train", done=0, total=1000, unit="steps"))
        beat(deployment.database, held, 10, StageReport(stage="train", done=800, total=1000, unit="steps"))
        far = load_job(database, job_id).progress
        assert reap(deployment.database, 80) == 1
        again = claim(database, job_id, "train", 0, seconds=80)
        beat(deployment.database, again, 81, StageReport(stage="train", done=500, total=1000, unit="steps"))
        job = load_job(database, job_id)
        assert (job.progress, job.stage_done) == (far, 500)
        assert (job.speed, job.eta_seconds) == (None, None)
        assert job.stage_seconds == {"train": 80.0}
        beat(deployment.database, again, 91, StageReport(stage="train", done=900, total=1000, unit="steps"))
        job = load_job(database, job_id)
        assert job.progress > far
        assert job.speed == pytest.approx(40)

    def test_eta_follows_from_the_speed_of_all_networks(self, deployment: Deployment) -> None:
        database = deployment.database
        job_id = training_job(database, training_count=4)
        assert load_job(database, job_id).eta_seconds is None
        held = [claim(database, job_id, "train", index) for index in range(2)]
        for one in held:
            beat(deployment.database, one, 0, StageReport(stage="train", done=0, total=1000, unit="steps"))
        assert load_job(database, job_id).eta_seconds is None
        for one in held:
            beat(deployment.database, one, 10, StageReport(stage="train", done=100, total=1000, unit="steps"))
        job = load_job(database, job_id)
        assert job.speed == pytest.approx(20)
        assert (job.stage_done, job.stage_total) == (200, 4000)
        # 3800 steps at 20 a second are left, and then a fifth of the job's weight, at the pace of the first four.
        assert job.eta_seconds == pytest.approx(190 + 0.2 / 0.8 * 200)
