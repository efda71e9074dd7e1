from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from threading import Event

import pytest
from sqlalchemy import text

from core.callers import LOCAL_CALLER
from core.clock import utc_now
from core.jobs import job_states
from core.jobs.claims import Claim
from core.jobs.progress import StageReport
from stdo.service.resources import Stage
from tests.core.samples import encoded_job, load_job, load_part, part_id_of
from tests.deployments import Deployment
from tests.processes import wait_until
from workers.sandbox.stop_signal import StopReason, StopSignal
from workers.tasks import lease_keeper
from workers.tasks.lease_keeper import LeaseKeeper

INTERVAL_SECONDS = 0.1


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_keeper, "PROGRESS_SECONDS", INTERVAL_SECONDS)


def claimed(deployment: Deployment, *, lease_seconds: float = 60.0) -> Claim:
    job_id = encoded_job(deployment.database)
    with deployment.database.transaction() as session:
        held = job_states.claim(
            session,
            part_id_of(deployment.database, job_id, "plan"),
            now=utc_now(),
            lease=timedelta(seconds=lease_seconds),
        )
    assert held is not None
    assert held.job_id is not None
    return held


def keeper_of(deployment: Deployment, claim: Claim, stop: StopSignal) -> LeaseKeeper:
    return LeaseKeeper(deployment.database, claim, stop, interval_seconds=INTERVAL_SECONDS)


def report(stage: Stage, done: int) -> StageReport:
    return StageReport(stage=stage, done=done, total=10, unit="frames")


def test_extends_the_lease_without_any_progress(deployment: Deployment) -> None:
    claim = claimed(deployment, lease_seconds=1.0)

    with keeper_of(deployment, claim, stop := StopSignal(Event())):
        time.sleep(1.5)
        with deployment.database.transaction() as session:
            assert job_states.reap(session, now=utc_now(), max_attempts=3) == 0

    assert stop.reason is None
    assert load_part(deployment.database, claim.part_id).lease_token == claim.token


def test_records_progress_and_never_skips_a_stage(deployment: Deployment) -> None:
    claim = claimed(deployment)
    assert claim.job_id is not None

    with keeper_of(deployment, claim, StopSignal(Event())) as keeper:
        for stage in ("score", "group"):
            for done in (0, 10):
                keeper.report(report(stage, done))

    job = load_job(deployment.database, claim.job_id)
    assert job.stage == "group"
    assert job.stage_done == 10
    assert list(job.stage_seconds) == ["score"]


def test_progress_shows_while_the_stage_lasts(deployment: Deployment) -> None:
    claim = claimed(deployment)
    job_id = claim.job_id
    assert job_id is not None

    with keeper_of(deployment, claim, StopSignal(Event())) as keeper:
        keeper.report(report("score", 1))
        wait_until(lambda: load_job(deployment.database, job_id).stage_done == 1, seconds=5, what="the first report")
        keeper.report(report("score", 7))
        wait_until(lambda: load_job(deployment.database, job_id).stage_done == 7, seconds=5, what="the next report")


def test_refuses_a_stage_that_is_not_the_parts_own(deployment: Deployment) -> None:
    claim = claimed(deployment)
    assert claim.job_id is not None

    with keeper_of(deployment, claim, StopSignal(Event())) as keeper:
        keeper.report(report("publish", 10))

    assert load_job(deployment.database, claim.job_id).stage is None


def test_hears_of_a_cancellation_and_keeps_the_lease_until_it_is_acknowledged(deployment: Deployment) -> None:
    claim = claimed(deployment)
    assert claim.job_id is not None

    with keeper_of(deployment, claim, stop := StopSignal(Event())):
        with deployment.database.transaction() as session:
            job_states.cancel(session, LOCAL_CALLER, claim.job_id, now=utc_now())
        wait_until(lambda: stop.reason is StopReason.CANCELLED, seconds=5, what="the cancellation")

    with deployment.database.transaction() as session:
        job_states.acknowledge_cancel(session, claim, now=utc_now())
    assert load_job(deployment.database, claim.job_id).state == "cancelled"


def test_hears_of_a_lost_lease(deployment: Deployment) -> None:
    claim = claimed(deployment)

    with keeper_of(deployment, claim, stop := StopSignal(Event())):
        with deployment.database.transaction() as session:
            job_states.reap(session, now=utc_now(), max_attempts=3, include_live=True)
        wait_until(lambda: stop.reason is StopReason.LEASE_LOST, seconds=5, what="the loss")


def test_a_database_without_answer_loses_the_lease_once_it_must_have_expired(
    embedded_deployment: Deployment,
) -> None:
    claim = replace(claimed(embedded_deployment), lease=timedelta(seconds=1))
    with embedded_deployment.database.transaction() as session:
        session.execute(text("ALTER TABLE parts RENAME TO parts_elsewhere"))
    started_at = time.monotonic()

    with keeper_of(embedded_deployment, claim, stop := StopSignal(Event())):
        wait_until(lambda: stop.reason is StopReason.LEASE_LOST, seconds=5, what="the loss")

    assert time.monotonic() - started_at >= 1.0


def test_a_database_that_comes_back_in_time_loses_nothing(embedded_deployment: Deployment) -> None:
    claim = replace(claimed(embedded_deployment), lease=timedelta(seconds=20))

    with keeper_of(embedded_deployment, claim, stop := StopSignal(Event())):
        for old, new in (("parts", "parts_elsewhere"), ("parts_elsewhere", "parts")):
            with embedded_deployment.database.transaction() as session:
                session.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))
            time.sleep(0.5)
        expires_at = load_part(embedded_deployment.database, claim.part_id).lease_expires_at

    assert stop.reason is None
    assert expires_at is not None
    assert expires_at > utc_now() + timedelta(seconds=18)
