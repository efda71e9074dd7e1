from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import select

from core.callers import LOCAL_CALLER, Caller
from core.errors import JobFinishedError, JobNotFoundError, LeaseLostError
from core.jobs import events, job_flow, job_states, jobs, videos
from core.jobs.claims import Claim, Finished, Heartbeat, Input, Made, Planned, Probed
from core.jobs.part_kinds import chosen_queues
from core.jobs.progress import StageReport
from core.presets import resolve_settings
from core.tables import BundleRow, EventRow, PartRow
from stdo.service.resources import TERMINAL_JOB_STATES
from tests.core.samples import (
    CRASH,
    LEASE,
    MAX_ATTEMPTS,
    REFUSAL,
    SOURCE,
    after,
    beat,
    cancel,
    claim,
    encoded_job,
    fail,
    load_job,
    load_part,
    new_job,
    new_video,
    part_id_of,
    part_states,
    reap,
    sample_bundle,
    succeed,
    training_job,
)
from tests.deployments import Deployment


class TestLife:
    def test_from_upload_to_bundle(self, deployment: Deployment) -> None:
        database = deployment.database
        job_id = new_job(database, groups={"count": 2})
        assert load_job(database, job_id).state == "queued"
        assert part_states(database, job_id) == {"encode": "queued", "plan": "waiting"}

        encode = claim(database, job_id, "encode", seconds=1)
        assert load_job(database, job_id).state == "encoding"
        assert encode.settings is not None
        assert encode.settings.groups.count == 2
        succeed(database, encode, Made(), seconds=2)
        assert part_states(database, job_id) == {"encode": "succeeded", "plan": "queued"}
        assert load_job(database, job_id).state == "planning"

        succeed(database, claim(database, job_id, "plan", seconds=2), Planned(training_count=2), seconds=2)
        assert part_states(database, job_id) == {
            "encode": "succeeded",
            "plan": "succeeded",
            "train 0": "queued",
            "train 1": "queued",
            "finish": "waiting",
        }

        # In any order: the second training first.
        for number in (1, 0):
            assert load_job(database, job_id).state == "training"
            succeed(database, claim(database, job_id, "train", number, seconds=3), Made(), seconds=4)
        assert load_job(database, job_id).state == "finishing"

        finish = claim(database, job_id, "finish", seconds=5)
        succeed(database, finish, Finished(bundle=sample_bundle(job_id)), seconds=6)
        job = load_job(database, job_id)
        assert (job.state, job.progress, job.eta_seconds) == ("succeeded", 1.0, None)
        assert (job.started_at, job.finished_at) == (after(1), after(6))
        with database.snapshot() as session:
            history = events.list_after(session, LOCAL_CALLER, job_id, 0)
        states = ["queued", "encoding", "planning", "training", "finishing", "succeeded"]
        assert [event.state for event in history] == states
        assert [event.id for event in history] == [1, 2, 3, 4, 5, 6]

    def test_all_its_rows_belong_to_the_tenant_of_the_job(self, deployment: Deployment) -> None:
        database = deployment.database
        acme = Caller(tenant="acme", api_key_id=None)
        with database.transaction() as session:
            video = videos.create(session, acme, file_name="a.mp4", byte_count=1, sha256="a" * 64, now=after(0))
            settings = resolve_settings("fast", {})
            job_id = jobs.create(session, acme, video_id=video.id, preset="fast", settings=settings, now=after(0)).id
            video_id = video.id
        succeed(database, claim(database, video_id, "probe"), Probed(source=SOURCE))
        succeed(database, claim(database, job_id, "encode"), Made())
        succeed(database, claim(database, job_id, "plan"), Planned(training_count=1))
        succeed(database, claim(database, job_id, "train", 0), Made())
        succeed(database, claim(database, job_id, "finish"), Finished(bundle=sample_bundle(job_id)))
        with database.snapshot() as session:
            for row, count in ((PartRow, 5), (EventRow, 6), (BundleRow, 1)):
                assert session.scalars(select(row.tenant)).all() == ["acme"] * count

    def test_a_plan_without_trainings_leads_to_the_finish(self, deployment: Deployment) -> None:
        job_id = training_job(deployment.database, training_count=0)
        assert part_states(deployment.database, job_id)["finish"] == "queued"
        assert load_job(deployment.database, job_id).state == "finishing"

    def test_the_finish_is_queued_where_the_settings_say(self, deployment: Deployment) -> None:
        database = deployment.database
        settings = deployment.settings.model_copy(update={"finish_queue": "gpu"})
        job_id = encoded_job(database)
        with database.transaction() as session:
            held = job_states.claim(session, part_id_of(database, job_id, "plan"), now=after(0), lease=LEASE)
            assert held is not None
            result = Planned(training_count=0)
            job_states.succeed(session, held, result, now=after(1), queues=chosen_queues(settings))
        assert claim(database, job_id, "finish").queue == "gpu"
        assert claim(database, training_job(database, training_count=0), "finish").queue == "cpu"

    def test_trainings_that_end_at_once_start_one_finish(self, deployment: Deployment) -> None:
        database = deployment.database
        count = 4
        job_id = training_job(database, training_count=count)
        held = [claim(database, job_id, "train", number) for number in range(count)]
        together = Barrier(count)

        def end(one: Claim) -> None:
            together.wait()
            succeed(database, one, Made(), seconds=1)

        with ThreadPoolExecutor(count) as pool:
            list(pool.map(end, held))
        assert load_job(database, job_id).state == "finishing"
        assert part_states(database, job_id)["finish"] == "queued"

    def test_ended_states_lead_nowhere(self) -> None:
        assert {state for state, following in job_flow.MOVES.items() if not following} == TERMINAL_JOB_STATES
        for state, following in job_flow.MOVES.items():
            if state not in TERMINAL_JOB_STATES:
                assert {"failed", "cancelled"} < following
                assert state not in following

    @pytest.mark.parametrize("ended", ["failed", "cancelled"])
    def test_an_ended_job_stays_as_it_is(self, deployment: Deployment, ended: str) -> None:
        database = deployment.database
        job_id = training_job(database)
        held = claim(database, job_id, "train", 0)
        if ended == "failed":
            fail(deployment.database, held, infrastructure=False)
        else:
            cancel(deployment.database, job_id)
            with database.transaction() as session:
                job_states.acknowledge_cancel(session, held, now=after(2))
        before = load_job(database, job_id)
        assert before.state == ended
        with pytest.raises(JobFinishedError):
            cancel(deployment.database, job_id, seconds=3)
        with pytest.raises(LeaseLostError):
            succeed(database, held, Made(), seconds=3)
        assert reap(deployment.database, 1000) == 0
        with database.transaction() as session:
            assert job_states.claim(session, part_id_of(database, job_id, "finish"), now=after(4), lease=LEASE) is None
        now = load_job(database, job_id)
        assert (now.state, now.finished_at, now.last_event) == (ended, before.finished_at, before.last_event)

    def test_a_result_of_another_kind_is_refused(self, deployment: Deployment) -> None:
        job_id = new_job(deployment.database)
        held = claim(deployment.database, job_id, "encode")
        with pytest.raises(AssertionError):
            succeed(deployment.database, held, Planned(training_count=1), seconds=1)
        assert part_states(deployment.database, job_id) == {"encode": "running", "plan": "waiting"}


class TestInputs:
    def test_are_what_the_part_needs_from_where_it_was_made(self, deployment: Deployment) -> None:
        database = deployment.database
        video_id = new_video(database)
        probe = claim(database, video_id, "probe")
        assert (probe.inputs, probe.output_prefix) == ((), f"videos/{video_id}/probe/{probe.part_id}/1/")
        succeed(database, probe, Probed(source=SOURCE))
        job_id = new_job(database, video_id=video_id)
        info = Input(name="source_info", prefix=probe.output_prefix)

        encode = claim(database, job_id, "encode")
        assert reap(database, 100) == 1
        assert encode.inputs == (info,)
        encode = claim(database, job_id, "encode", seconds=100)
        assert encode.output_prefix == f"jobs/{job_id}/work/encode-2/"
        succeed(database, encode, Made(), seconds=100)
        base_stream = Input(name="base_stream", prefix=encode.output_prefix)

        plan = claim(database, job_id, "plan", seconds=100)
        assert plan.inputs == (info, base_stream)
        succeed(database, plan, Planned(training_count=2), seconds=100)
        train = [claim(database, job_id, "train", number, seconds=100) for number in range(2)]
        for number, held in enumerate(train):
            assert held.inputs == (info, base_stream, Input(name="plan", prefix=plan.output_prefix))
            assert held.output_prefix == f"jobs/{job_id}/work/train-{number}-1/"
            succeed(database, held, Made(), seconds=100)

        assert claim(database, job_id, "finish", seconds=100).inputs == (
            info,
            base_stream,
            Input(name="plan", prefix=plan.output_prefix),
            Input(name="scores", prefix=plan.output_prefix),
            Input(name="training_0", prefix=train[0].output_prefix),
            Input(name="training_1", prefix=train[1].output_prefix),
        )


class TestClaim:
    def test_exactly_one_of_many_wins(self, deployment: Deployment) -> None:
        database = deployment.database
        part_id = part_id_of(database, new_job(database), "encode")
        workers = 8
        together = Barrier(workers)

        def grab(_: int) -> Claim | None:
            together.wait()
            with database.transaction() as session:
                return job_states.claim(session, part_id, now=after(0), lease=LEASE)

        with ThreadPoolExecutor(workers) as pool:
            claims = [held for held in pool.map(grab, range(workers)) if held is not None]
        assert len(claims) == 1
        task = load_part(database, part_id)
        assert (task.state, task.attempt, task.lease_token) == ("running", 1, claims[0].token)

    def test_of_a_task_that_never_was(self, deployment: Deployment) -> None:
        with deployment.database.transaction() as session:
            assert job_states.claim(session, "0" * 32, now=after(0), lease=LEASE) is None

    def test_of_a_job_whose_settings_are_not_understood_fails_it(self, deployment: Deployment) -> None:
        database = deployment.database
        job_id = new_job(database)
        with database.transaction() as session:
            job = jobs.get(session, LOCAL_CALLER, job_id)
            job.settings = {**job.settings, "a_setting_of_yesterday": 1}
        part_id = part_id_of(database, job_id, "encode")
        with database.transaction() as session:
            assert job_states.claim(session, part_id, now=after(1), lease=LEASE) is None
        job = load_job(database, job_id)
        assert (job.state, job.failure) == ("failed", job_states.OUTDATED_SETTINGS.model_dump())
        assert part_states(database, job_id) == {"encode": "failed", "plan": "cancelled"}


class TestFencing:
    def test_the_old_holder_can_write_nothing(self, deployment: Deployment) -> None:
        database = deployment.database
        job_id = new_job(database)
        old = claim(database, job_id, "encode")
        assert reap(deployment.database, LEASE.total_seconds() + 1) == 1
        new = claim(database, job_id, "encode", seconds=70)
        assert (new.attempt, new.part_id) == (2, old.part_id)
        report = StageReport(stage="encode", done=1, total=1, unit="frames")
        assert beat(deployment.database, old, 71, report) == Heartbeat(lost=True, cancel_requested=False)
        with pytest.raises(LeaseLostError):
            succeed(database, old, Made(), seconds=71)
        for infrastructure in (False, True):
            with pytest.raises(LeaseLostError):
                fail(deployment.database, old, infrastructure=infrastructure, seconds=71)
        for end in (job_states.release, job_states.acknowledge_cancel):
            with pytest.raises(LeaseLostError), database.transaction() as session:
                end(session, old, now=after(71))
        task, job = load_part(database, old.part_id), load_job(database, job_id)
        assert (task.state, task.lease_token, task.attempt, task.stage) == ("running", new.token, 2, None)
        assert (job.state, job.progress) == ("encoding", 0.0)
        succeed(database, new, Made(), seconds=72)

    def test_heartbeats_keep_the_lease(self, deployment: Deployment) -> None:
        held = claim(deployment.database, new_job(deployment.database), "encode")
        for seconds in (50, 100, 150):
            assert not beat(deployment.database, held, seconds).lost
            assert reap(deployment.database, seconds + 59) == 0
        assert reap(deployment.database, 211) == 1

    def test_a_late_heartbeat_counts_while_nobody_took_the_task(self, deployment: Deployment) -> None:
        held = claim(deployment.database, new_job(deployment.database), "encode")
        assert not beat(deployment.database, held, 500).lost
        assert reap(deployment.database, 510) == 0


class TestReap:
    def test_gives_up_after_the_last_attempt(self, deployment: Deployment) -> None:
        database = deployment.database
        job_id = training_job(database)
        for attempt in range(1, MAX_ATTEMPTS + 1):
            assert claim(database, job_id, "train", 0, seconds=attempt * 100).attempt == attempt
            assert load_job(database, job_id).state == "training"
            assert reap(deployment.database, attempt * 100 + 61) == 1
        job = load_job(database, job_id)
        assert job.state == "failed"
        assert job.failure is not None
        assert job.failure["type"] == "infrastructure"
        assert "train 0 was tried 3 times" in job.failure["detail"]
        assert part_states(database, job_id) == {
            "encode": "succeeded",
            "plan": "succeeded",
            "train 0": "failed",
            "train 1": "cancelled",
            "finish": "cancelled",
        }

    def test_takes_live_leases_when_asked(self, deployment: Deployment) -> None:
        held = claim(deployment.database, new_job(deployment.database), "encode")
        assert reap(deployment.database, 1) == 0
        assert reap(deployment.database, 1, include_live=True) == 1
        assert beat(deployment.database, held, 2).lost

    def test_two_reapers_take_a_task_once(self, deployment: Deployment) -> None:
        database = deployment.database
        held = [claim(database, new_job(database), "encode") for _ in range(4)]
        together = Barrier(2)

        def run(_: int) -> int:
            together.wait()
            return reap(deployment.database, 100)

        with ThreadPoolExecutor(2) as pool:
            assert sum(pool.map(run, range(2))) == len(held)
        assert {load_part(database, one.part_id).state for one in held} == {"queued"}

    def test_cancels_what_was_to_be_cancelled(self, deployment: Deployment) -> None:
        database = deployment.database
        job_id = new_job(database)
        claim(database, job_id, "encode")
        cancel(deployment.database, job_id)
        assert reap(deployment.database, 100) == 1
        assert load_job(database, job_id).state == "cancelled"


class TestFail:
    def test_fails_the_job_and_stops_the_rest(self, deployment: Deployment) -> None:
        database = deployment.database
        job_id = training_job(database, training_count=3)
        first, second = (claim(database, job_id, "train", index) for index in range(2))
        fail(deployment.database, first, infrastructure=False, seconds=5)
        job = load_job(database, job_id)
        assert (job.state, job.failure, job.finished_at) == ("failed", REFUSAL.model_dump(), after(5))
        assert part_states(database, job_id) == {
            "encode": "succeeded",
            "plan": "succeeded",
            "train 0": "failed",
            "train 1": "cancelled",
            "train 2": "cancelled",
            "finish": "cancelled",
        }
        assert beat(deployment.database, second, 6).lost

    def test_of_the_machinery_is_tried_again_after_a_pause(self, deployment: Deployment) -> None:
        database = deployment.database
        job_id = new_job(database)
        held = claim(database, job_id, "encode")
        fail(deployment.database, held, infrastructure=True, seconds=10)
        task = load_part(database, held.part_id)
        assert (task.state, task.attempt, task.not_before, task.last_sent_at) == ("queued", 1, after(40), None)
        fail(deployment.database, claim(database, job_id, "encode", seconds=50), infrastructure=True, seconds=60)
        assert load_part(database, held.part_id).not_before == after(120)
        fail(deployment.database, claim(database, job_id, "encode", seconds=130), infrastructure=True, seconds=140)
        failure = load_job(database, job_id).failure
        assert failure is not None
        assert failure["type"] == "infrastructure"
        assert "the part ended with signal 9" in failure["detail"]

    def test_pauses_grow_to_ten_minutes_and_no_further(self, embedded_deployment: Deployment) -> None:
        database = embedded_deployment.database
        job_id = new_job(database)
        pauses = []
        for attempt in range(99):
            held = claim(database, job_id, "encode", seconds=attempt)
            with database.transaction() as session:
                job_states.fail(session, held, CRASH, now=after(attempt), infrastructure=True, max_attempts=100)
            pauses.append((load_part(database, held.part_id).not_before - after(attempt)).total_seconds())
        assert pauses[:6] == [30, 60, 120, 240, 480, 600]
        assert set(pauses[6:]) == {600}

    def test_while_a_cancel_is_wanted_cancels(self, deployment: Deployment) -> None:
        job_id = new_job(deployment.database)
        held = claim(deployment.database, job_id, "encode")
        cancel(deployment.database, job_id)
        fail(deployment.database, held, infrastructure=False, seconds=2)
        job = load_job(deployment.database, job_id)
        assert (job.state, job.failure) == ("cancelled", None)


class TestRelease:
    def test_costs_no_attempt(self, deployment: Deployment) -> None:
        database = deployment.database
        job_id = new_job(database)
        for _ in range(MAX_ATTEMPTS + 1):
            held = claim(database, job_id, "encode")
            assert held.attempt == 1
            with database.transaction() as session:
                job_states.release(session, held, now=after(1))
        assert load_part(database, held.part_id).state == "queued"

    def test_while_a_cancel_is_wanted_cancels(self, deployment: Deployment) -> None:
        database = deployment.database
        job_id = new_job(database)
        held = claim(database, job_id, "encode")
        cancel(database, job_id)
        with database.transaction() as session:
            job_states.release(session, held, now=after(2))
        assert (load_job(database, job_id).state, load_job(database, job_id).finished_at) == ("cancelled", after(2))
        assert part_states(database, job_id) == {"encode": "cancelled", "plan": "cancelled"}


class TestCancel:
    def test_of_a_queued_job_is_immediate(self, deployment: Deployment) -> None:
        database = deployment.database
        job_id = new_job(database)
        cancel(deployment.database, job_id, seconds=3)
        job = load_job(database, job_id)
        assert (job.state, job.finished_at) == ("cancelled", after(3))
        assert part_states(database, job_id) == {"encode": "cancelled", "plan": "cancelled"}

    def test_of_a_running_job_waits_for_its_workers(self, deployment: Deployment) -> None:
        database = deployment.database
        job_id = training_job(database, training_count=3)
        first, second = (claim(database, job_id, "train", index) for index in range(2))
        cancel(deployment.database, job_id)
        cancel(deployment.database, job_id)
        assert load_job(database, job_id).state == "training"
        assert part_states(database, job_id)["train 2"] == "cancelled"
        assert beat(deployment.database, first, 2) == Heartbeat(lost=False, cancel_requested=True)
        with database.transaction() as session:
            job_states.acknowledge_cancel(session, first, now=after(3))
        assert load_job(database, job_id).state == "training"
        # The other network was done before its worker heard of it.
        succeed(database, second, Made(), seconds=4)
        job = load_job(database, job_id)
        assert (job.state, job.finished_at) == ("cancelled", after(4))

    def test_comes_too_late_for_a_published_bundle(self, deployment: Deployment) -> None:
        database = deployment.database
        job_id = training_job(database, training_count=1)
        succeed(database, claim(database, job_id, "train", 0), Made())
        finish = claim(database, job_id, "finish")
        cancel(deployment.database, job_id)
        succeed(database, finish, Finished(bundle=sample_bundle(job_id)), seconds=2)
        assert load_job(database, job_id).state == "succeeded"

    def test_of_no_job(self, deployment: Deployment) -> None:
        with pytest.raises(JobNotFoundError):
            cancel(deployment.database, "0" * 32)
