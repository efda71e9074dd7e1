from __future__ import annotations

from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.callers import LOCAL_CALLER
from core.jobs import events, job_states
from core.jobs.claims import Claim, Finished, Made, Planned
from core.jobs.progress import StageReport
from stdo.service.resources import Stage
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
    """A training's worker reports any number of steps, or (None) is taken its part away."""
    database = embedded_deployment.database
    job_id = training_job(database)
    now = NOON
    held: dict[int, Claim | None] = {0: None, 1: None}
    before = load_job(database, job_id).progress
    for number, done, seconds in steps:
        now += timedelta(seconds=seconds)
        with database.transaction() as session:
            if done is None:
                job_states.reap(session, now=now, max_attempts=100, include_live=True)
                held = dict.fromkeys(held)
                continue
            one = held[number] or job_states.claim(
                session, part_id_of(database, job_id, "train", number), now=now, lease=LEASE
            )
            assert one is not None
            report = StageReport(stage="train", done=done, total=100, unit="steps")
            assert not job_states.heartbeat(session, one, now=now, report=report).lost
            held[number] = one
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


def frames(stage: Stage, done: int, total: int = 100) -> StageReport:
    return StageReport(stage=stage, done=done, total=total, unit="frames")


def steps_done(done: int, total: int = 1000) -> StageReport:
    return StageReport(stage="train", done=done, total=total, unit="steps")


class TestJob:
    def test_of_every_stage(self, deployment: Deployment) -> None:
        database = deployment.database
        job_id = new_job(database)
        seen = [0.0]

        def report(held: Claim, stage: Stage, at: float) -> None:
            beat(database, held, at, frames(stage, 50))
            job = load_job(database, job_id)
            assert job.stage == stage
            assert job.progress > seen[-1]
            seen.append(job.progress)

        encode = claim(database, job_id, "encode")
        report(encode, "encode", 0)
        succeed(database, encode, Made(), seconds=10)
        plan = claim(database, job_id, "plan", seconds=20)
        report(plan, "score", 20)
        report(plan, "group", 30)
        assert seen[1:] == [0.03, 0.1, 0.145]
        succeed(database, plan, Planned(training_count=2), seconds=45)
        trainings = [claim(database, job_id, "train", number, seconds=50) for number in range(2)]
        report(trainings[0], "train", 60)
        assert seen[-1] == 0.3125
        report(trainings[1], "train", 60)
        assert seen[-1] == 0.475
        job = load_job(database, job_id)
        assert (job.stage_done, job.stage_total, job.stage_unit) == (100, 200, "frames")
        for held in trainings:
            succeed(database, held, Made(), seconds=70)
        finish = claim(database, job_id, "finish", seconds=80)
        finish_stages: tuple[Stage, ...] = ("export", "measure", "publish")
        for number, stage in enumerate(finish_stages):
            report(finish, stage, 80 + number * 10)
        assert seen[-3:] == [0.81, 0.895, 0.985]
        succeed(database, finish, Finished(bundle=sample_bundle(job_id)), seconds=105)
        assert load_job(database, job_id).stage_seconds == {
            "encode": 10.0,
            "score": 10.0,
            "group": 15.0,
            "train": 20.0,
            "export": 10.0,
            "measure": 10.0,
            "publish": 5.0,
        }

    def test_shows_no_stage_while_it_waits_in_a_queue(self, deployment: Deployment) -> None:
        database = deployment.database
        job_id = new_job(database)
        held = claim(database, job_id, "encode")
        beat(database, held, 0, frames("encode", 0))
        beat(database, held, 1, frames("encode", 100))
        succeed(database, held, Made(), seconds=2)
        job = load_job(database, job_id)
        assert (job.state, job.stage, job.stage_done, job.stage_total) == ("planning", None, None, None)
        assert (job.progress, job.speed, job.eta_seconds) == (0.06, None, None)
        with database.snapshot() as session:
            newest = events.list_after(session, LOCAL_CALLER, job_id, 0)[-1]
        assert (newest.state, newest.stage, newest.stage_progress) == ("planning", None, None)

    def test_shows_a_training_that_runs_where_another_stops(self, deployment: Deployment) -> None:
        database = deployment.database
        job_id = training_job(database)
        first, second = (claim(database, job_id, "train", number) for number in range(2))
        for held, done in ((first, 600), (second, 200)):
            beat(database, held, 0, steps_done(0))
            beat(database, held, 10, steps_done(done))
        assert load_job(database, job_id).speed == 80
        with database.transaction() as session:
            job_states.release(session, first, now=after(11))
        job = load_job(database, job_id)
        assert (job.stage, job.speed) == ("train", 20)
        with database.transaction() as session:
            job_states.release(session, second, now=after(12))
        job = load_job(database, job_id)
        assert (job.state, job.stage, job.speed, job.eta_seconds) == ("training", None, None, None)

    def test_never_goes_back_when_a_worker_dies(self, deployment: Deployment) -> None:
        database = deployment.database
        job_id = training_job(database, training_count=1)
        held = claim(database, job_id, "train", 0)
        beat(database, held, 0, steps_done(0))
        beat(database, held, 10, steps_done(800))
        far = load_job(database, job_id).progress
        assert reap(database, 80) == 1
        again = claim(database, job_id, "train", 0, seconds=80)
        beat(database, again, 81, steps_done(500))
        job = load_job(database, job_id)
        assert (job.progress, job.stage_done) == (far, 500)
        assert (job.speed, job.eta_seconds) == (None, None)
        assert job.stage_seconds == {"train": 80.0}
        beat(database, again, 91, steps_done(900))
        job = load_job(database, job_id)
        assert job.progress > far
        assert job.speed == 40


class TestEta:
    def test_follows_from_the_speed_of_all_trainings(self, deployment: Deployment) -> None:
        database = deployment.database
        job_id = training_job(database, training_count=4)
        assert load_job(database, job_id).eta_seconds is None
        held = [claim(database, job_id, "train", number) for number in range(2)]
        for one in held:
            beat(database, one, 0, steps_done(0))
        assert load_job(database, job_id).eta_seconds is None
        for one in held:
            beat(database, one, 10, steps_done(100))
        job = load_job(database, job_id)
        assert job.speed == 20
        assert (job.stage_done, job.stage_total) == (200, 4000)
        # 3800 steps at 20 a second are left. Two workers have been busy for 200 s each by then, with four fifths of the
        # weight; one has the last fifth to do.
        assert job.eta_seconds == 190 + 0.2 / 0.8 * 2 * 200

    def test_counts_no_time_in_a_queue(self, deployment: Deployment) -> None:
        database = deployment.database
        job_id = training_job(database, training_count=1)
        held = claim(database, job_id, "train", 0, seconds=10_000)
        beat(database, held, 10_000, steps_done(0))
        beat(database, held, 10_010, steps_done(500))
        # 10 s of training are left, then a fifth of the weight at the pace of these 20 s.
        assert load_job(database, job_id).eta_seconds == 10 + 0.2 / 0.8 * 20

    def test_of_the_last_stages(self, deployment: Deployment) -> None:
        database = deployment.database
        job_id = training_job(database, training_count=1)
        succeed(database, claim(database, job_id, "train", 0), Made())
        held = claim(database, job_id, "finish")
        beat(database, held, 0, frames("measure", 0))
        assert load_job(database, job_id).eta_seconds is None
        beat(database, held, 97, frames("measure", 50))
        # 97 s of measuring, then 0.03 at the pace of 194 s for 0.97.
        assert load_job(database, job_id).eta_seconds == 97 + 6

    def test_is_unknown_before_the_training(self, deployment: Deployment) -> None:
        database = deployment.database
        held = claim(database, new_job(database), "encode")
        assert held.job_id is not None
        for seconds in (0, 10):
            beat(database, held, seconds, frames("encode", seconds))
        job = load_job(database, held.job_id)
        assert (job.speed, job.eta_seconds) == (1, None)
