from __future__ import annotations

from pathlib import Path

from redis import Redis

from core.errors import ObjectStoreUnavailableError
from core.jobs import job_states
from core.jobs.claims import Prepared
from core.jobs.housekeeping import SWEEP_AFTER, HousekeepingResult, housekeep
from core.storage.keys import work_key
from core.storage.local_store import LocalObjectStore
from core.task_queue import queue_depth
from stdo.service.resources import Failure
from tests.core.samples import MAX_ATTEMPTS, after, cancel, claim, load_part, new_job, new_video, part_id_of, succeed
from tests.deployments import Deployment, settings_of


def keep(deployment: Deployment, seconds: float) -> HousekeepingResult:
    return housekeep(deployment.database, deployment.store, deployment.settings, now=after(seconds))


def lose_all_messages(deployment: Deployment) -> None:
    with Redis.from_url(deployment.settings.broker_url) as client:
        client.flushdb()


def depths(deployment: Deployment) -> tuple[int, int]:
    return queue_depth(deployment.settings, "cpu"), queue_depth(deployment.settings, "gpu")


def test_what_the_broker_lost_is_sent_again(deployment: Deployment) -> None:
    new_job(deployment.database)
    assert depths(deployment) == (1, 1)
    lose_all_messages(deployment)
    # Not at once: a worker may just be taking it up.
    assert keep(deployment, 29) == HousekeepingResult(reaped=0, resent=0)
    assert keep(deployment, 31) == HousekeepingResult(reaped=0, resent=2)
    assert depths(deployment) == (1, 1)


def test_what_waits_for_busy_workers_is_not(deployment: Deployment) -> None:
    for _ in range(3):
        new_video(deployment.database)
    for seconds in (100, 200, 300):
        assert keep(deployment, seconds) == HousekeepingResult(reaped=0, resent=0)
    assert depths(deployment) == (3, 0)


def test_what_was_claimed_is_not(deployment: Deployment) -> None:
    database = deployment.database
    job_id = new_job(database)
    claim(database, job_id, "encode")
    lose_all_messages(deployment)
    assert keep(deployment, 50).resent == 1
    assert depths(deployment) == (1, 0)


def test_what_a_silent_worker_held_is_taken_back_and_sent(deployment: Deployment) -> None:
    database = deployment.database
    job_id = new_job(database)
    held = claim(database, job_id, "encode")
    lose_all_messages(deployment)
    assert keep(deployment, 61) == HousekeepingResult(reaped=1, resent=1)
    assert depths(deployment) == (1, 1)
    again = claim(database, job_id, "encode", seconds=62)
    assert (again.part_id, again.attempt) == (held.part_id, 2)
    succeed(database, again, Prepared(training_count=1), seconds=63)


def test_after_a_pause_it_is_sent(deployment: Deployment) -> None:
    database = deployment.database
    job_id = new_job(database)
    held = claim(database, job_id, "encode")
    lose_all_messages(deployment)
    failure = Failure(type="store", title="The store is away", detail="no answer")
    with database.transaction() as session:
        job_states.fail(session, held, failure, now=after(10), infrastructure=True, max_attempts=MAX_ATTEMPTS)
    assert depths(deployment) == (0, 0)
    # The probe's message was lost as well.
    assert keep(deployment, 31).resent == 1
    assert keep(deployment, 39.9).resent == 0
    assert depths(deployment) == (1, 0)
    assert keep(deployment, 40).resent == 1
    assert depths(deployment) == (1, 1)
    assert load_part(database, held.part_id).last_sent_at == after(40)


def test_a_waiting_task_is_nobodys(deployment: Deployment) -> None:
    database = deployment.database
    job_id = new_job(database)
    succeed(database, claim(database, job_id, "encode"), Prepared(training_count=2))
    lose_all_messages(deployment)
    # The probe and two networks; finish_job waits for them.
    assert keep(deployment, 50).resent == 3
    assert load_part(database, part_id_of(database, job_id, "finish")).last_sent_at is None


def test_without_a_broker_leases_are_looked_after_all_the_same(embedded_deployment: Deployment) -> None:
    database = embedded_deployment.database
    claim(database, new_job(database), "encode")
    settings = settings_of({**embedded_deployment.environment, "STDO_REDIS_URL": "redis://127.0.0.1:9/0"})
    assert housekeep(database, embedded_deployment.store, settings, now=after(61)) == HousekeepingResult(
        reaped=1, resent=0
    )


def test_what_a_job_left_that_was_cancelled_while_it_waited_is_deleted_later(
    deployment: Deployment, tmp_path: Path
) -> None:
    job_id = new_job(deployment.database)
    key = work_key(job_id, "prepare_job-1/base.mp4")
    (tmp_path / "object").write_bytes(b"x")
    deployment.store.put_file(key, tmp_path / "object")
    cancel(deployment.database, job_id, seconds=0)
    # Not at once: a worker may not have noticed yet, and still write.
    keep(deployment, SWEEP_AFTER.total_seconds() - 1)
    assert deployment.store.list_prefix(work_key(job_id, "")) == [key]
    keep(deployment, SWEEP_AFTER.total_seconds() + 1)
    assert deployment.store.list_prefix(work_key(job_id, "")) == []


class _AwayStore(LocalObjectStore):
    def delete_prefix(self, prefix: str) -> None:
        raise ObjectStoreUnavailableError(f"no answer about {prefix}")


def test_without_a_store_tasks_are_looked_after_all_the_same(embedded_deployment: Deployment) -> None:
    database, settings = embedded_deployment.database, embedded_deployment.settings
    cancel(database, new_job(database), seconds=0)
    claim(database, new_job(database), "encode")
    moment = after(SWEEP_AFTER.total_seconds() + 1)
    assert housekeep(database, _AwayStore(settings.objects_dir), settings, now=moment).reaped == 1
