"""Many workers, a reaper, a canceller and a client at once: no deadlock, no lost update, no job that hangs."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import select

from core.callers import LOCAL_CALLER
from core.database import Database
from core.errors import JobFinishedError, LeaseLostError
from core.jobs import events, job_states, jobs
from core.jobs.claims import Claim, Finished, Made, PartResult, Planned
from core.jobs.part_kinds import PART_KINDS
from core.jobs.progress import StageReport
from core.tables import PartKind, PartRow
from stdo.service.resources import TERMINAL_JOB_STATES
from tests.core.samples import LEASE, NOON, new_job, sample_bundle
from tests.deployments import Deployment

WORKERS = 6
TRAININGS = 3
TIME_LIMIT_SECONDS = 60


def is_over(database: Database, job_ids: list[str]) -> bool:
    with database.snapshot() as session:
        return all(jobs.get(session, LOCAL_CALLER, job_id).state in TERMINAL_JOB_STATES for job_id in job_ids)


def work(database: Database, job_ids: list[str], deadline: float) -> None:
    """Claim whatever is there, report each stage, end it; as a worker that knows nothing of the others."""
    while not is_over(database, job_ids) and time.monotonic() < deadline:
        with database.snapshot() as session:
            queued = session.scalars(
                select(PartRow.id).where(PartRow.state == "queued", PartRow.job_id.is_not(None))
            ).all()
        for part_id in random.sample(queued, len(queued)):
            with database.transaction() as session:
                held = job_states.claim(session, part_id, now=NOON, lease=LEASE)
            if held is not None:
                carry_out(database, held)


def carry_out(database: Database, held: Claim) -> None:
    for stage in PART_KINDS[held.kind].stages:
        report = StageReport(stage=stage, done=1, total=1, unit="frames")
        with database.transaction() as session:
            answer = job_states.heartbeat(session, held, now=NOON, report=report)
        if answer.lost:
            return
    assert held.job_id is not None
    results: dict[PartKind, PartResult] = {
        "encode": Made(),
        "plan": Planned(training_count=TRAININGS),
        "train": Made(),
        "finish": Finished(bundle=sample_bundle(held.job_id, held.attempt)),
    }
    try:
        with database.transaction() as session:
            if answer.cancel_requested:
                job_states.acknowledge_cancel(session, held, now=NOON)
            else:
                job_states.succeed(session, held, results[held.kind], now=NOON)
    except LeaseLostError:
        return


def reap(database: Database, job_ids: list[str], deadline: float) -> None:
    """Take parts from workers that are alive, to be as rude as can be."""
    while not is_over(database, job_ids) and time.monotonic() < deadline:
        with database.transaction() as session:
            job_states.reap(session, now=NOON, max_attempts=10**6, include_live=True)
        time.sleep(0.1)


def cancel(database: Database, job_id: str) -> None:
    time.sleep(0.2)
    try:
        with database.transaction() as session:
            job_states.cancel(session, LOCAL_CALLER, job_id, now=NOON)
    except JobFinishedError:
        return


def test_every_job_comes_to_its_end(deployment: Deployment) -> None:
    database = deployment.database
    job_ids = [new_job(database) for _ in range(4)]
    deadline = time.monotonic() + TIME_LIMIT_SECONDS
    with ThreadPoolExecutor(WORKERS + 2) as pool:
        running = [pool.submit(work, database, job_ids, deadline) for _ in range(WORKERS)]
        running.append(pool.submit(reap, database, job_ids, deadline))
        running.append(pool.submit(cancel, database, job_ids[0]))
        for one in running:
            one.result()
    with database.snapshot() as session:
        rows = [jobs.get(session, LOCAL_CALLER, job_id) for job_id in job_ids]
        assert rows[0].state in ("cancelled", "succeeded")
        assert [row.state for row in rows[1:]] == ["succeeded"] * 3
        for row in rows:
            history = events.list_after(session, LOCAL_CALLER, row.id, 0)
            assert [event.id for event in history] == list(range(1, row.last_event + 1))
            assert [event.progress for event in history] == sorted(event.progress for event in history)
            parts = session.scalars(select(PartRow).where(PartRow.job_id == row.id)).all()
            assert {part.state for part in parts} <= {"succeeded", "cancelled"}
            if row.state == "succeeded":
                assert len(parts) == TRAININGS + 3
                assert jobs.get_resource(session, LOCAL_CALLER, row.id).bundle is not None
