from __future__ import annotations

from core.database import Database
from core.jobs import job_states, leases
from core.jobs.claims import Made, Planned
from core.tables import QueueName
from tests.core.samples import (
    CRASH,
    after,
    claim,
    encoded_job,
    new_job,
    new_video,
    part_id_of,
    succeed,
    training_job,
)
from tests.deployments import Deployment


def first_in_line(database: Database, queue: QueueName, seconds: float = 1000) -> str | None:
    with database.snapshot() as session:
        return leases.first_in_line(session, queue, now=after(seconds))


def test_the_oldest_jobs_part_is_first_however_late_it_was_queued(deployment: Deployment) -> None:
    database = deployment.database
    first = encoded_job(database, seconds=0)
    held = claim(database, first, "plan", seconds=1)
    second = encoded_job(database, seconds=10)
    assert first_in_line(database, "gpu") == part_id_of(database, second, "plan")

    succeed(database, held, Planned(training_count=2), seconds=20)

    for number in range(2):
        assert first_in_line(database, "gpu") == part_id_of(database, first, "train", number)
        succeed(database, claim(database, first, "train", number), Made())
    assert first_in_line(database, "gpu") == part_id_of(database, second, "plan")


def test_a_probe_takes_its_place_by_its_own_age(deployment: Deployment) -> None:
    database = deployment.database
    young, old = new_job(database, seconds=20), new_job(database, seconds=10)
    video_id = new_video(database, seconds=15)
    assert first_in_line(database, "cpu") == part_id_of(database, old, "encode")
    claim(database, old, "encode")
    assert first_in_line(database, "cpu") == part_id_of(database, video_id, "probe")
    claim(database, video_id, "probe")
    assert first_in_line(database, "cpu") == part_id_of(database, young, "encode")


def test_a_part_that_pauses_is_passed_over(deployment: Deployment) -> None:
    database = deployment.database
    first, second = training_job(database, training_count=1), training_job(database, training_count=1, seconds=1)
    held = claim(database, first, "train", 0)
    with database.transaction() as session:
        job_states.fail(session, held, CRASH, now=after(10), infrastructure=True, max_attempts=3)
    assert first_in_line(database, "gpu", seconds=39) == part_id_of(database, second, "train", 0)
    assert first_in_line(database, "gpu", seconds=41) == part_id_of(database, first, "train", 0)


def test_an_empty_queue_has_no_first(deployment: Deployment) -> None:
    assert first_in_line(deployment.database, "gpu") is None
