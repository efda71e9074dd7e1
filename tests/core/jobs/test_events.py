from __future__ import annotations

from core.callers import LOCAL_CALLER
from core.jobs import events, job_states
from core.jobs.progress import StageReport
from stdo.service.resources import JobEvent, StageProgress
from tests.core.samples import after, claim, encoded_job, new_job
from tests.deployments import Deployment


def history(deployment: Deployment, job_id: str, last_id: int = 0, limit: int = 1000) -> list[JobEvent]:
    with deployment.database.snapshot() as session:
        return events.list_after(session, LOCAL_CALLER, job_id, last_id, limit=limit)


def planning(deployment: Deployment) -> tuple[str, list[tuple[float, str, int]]]:
    """A job with five reports: three within a second, one second later another, and a new stage at once after it."""
    job_id = encoded_job(deployment.database)
    held = claim(deployment.database, job_id, "plan")
    reports = [(10.0, "score", 0), (10.4, "score", 1), (10.9, "score", 2), (11.0, "score", 3), (11.1, "group", 0)]
    for seconds, stage, done in reports:
        report = StageReport(stage=stage, done=done, total=10, unit="frames")  # type: ignore[arg-type]
        with deployment.database.transaction() as session:
            job_states.heartbeat(session, held, now=after(seconds), report=report)
    return job_id, reports


def test_progress_at_most_once_a_second_unless_the_stage_changes(deployment: Deployment) -> None:
    job_id, _ = planning(deployment)
    seen = history(deployment, job_id)
    assert [(event.type, event.state) for event in seen] == [
        ("state", "queued"),
        ("state", "encoding"),
        ("state", "planning"),
        ("progress", "planning"),
        ("progress", "planning"),
        ("progress", "planning"),
    ]
    assert [(event.at, event.stage) for event in seen[3:]] == [
        (after(10), "score"),
        (after(11), "score"),
        (after(11.1), "group"),
    ]
    assert seen[4].stage_progress == StageProgress(done=3, total=10, unit="frames")
    assert [event.progress for event in seen] == sorted(event.progress for event in seen)


def test_after_any_event_the_rest_follows(deployment: Deployment) -> None:
    job_id, _ = planning(deployment)
    new_job(deployment.database)
    everything = history(deployment, job_id)
    assert [event.id for event in everything] == [1, 2, 3, 4, 5, 6]
    for last_id in range(7):
        assert history(deployment, job_id, last_id) == everything[last_id:]
    assert history(deployment, job_id, 1, limit=2) == everything[1:3]
    assert history(deployment, job_id, 10**6) == []


def test_each_job_counts_for_itself(deployment: Deployment) -> None:
    first, second = new_job(deployment.database), new_job(deployment.database)
    assert [event.id for event in history(deployment, first)] == [1]
    assert [event.id for event in history(deployment, second)] == [1]


def test_a_second_attempt_is_told(deployment: Deployment) -> None:
    database = deployment.database
    job_id = new_job(database)
    claim(database, job_id, "encode")
    with database.transaction() as session:
        job_states.reap(session, now=after(100), max_attempts=2)
    claim(database, job_id, "encode", seconds=101)
    assert [event.message for event in history(deployment, job_id)] == [
        None,
        None,
        "encode will be tried again: its worker fell silent",
        "encode: attempt 2",
    ]
