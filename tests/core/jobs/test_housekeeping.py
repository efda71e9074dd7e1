from __future__ import annotations

from pathlib import Path

from redis import Redis

from core.callers import LOCAL_CALLER
from core.errors import ObjectStoreUnavailableError
from core.jobs import idempotency, job_states
from core.jobs.claims import Made
from core.jobs.housekeeping import SWEEP_AFTER, HousekeepingResult, housekeep
from core.storage.keys import work_key
from core.storage.local_store import LocalObjectStore
from core.task_queue import queue_depth
from stdo.service.resources import Failure
from tests.core.samples import (
    MAX_ATTEMPTS,
    after,
    cancel,
    claim,
    encoded_job,
    load_part,
    new_job,
    new_video,
    part_id_of,
    succeed,
    training_job,
)
from tests.deployments import Deployment, settings_of


def keep(deployment: Deployment, seconds: float) -> HousekeepingResult:
    return housekeep(deployment.database, deployment.store, deployment.settings, now=after(seconds))


def lose_all_messages(deployment: Deployment) -> None:
    with Redis.from_url(deployment.settings.broker_url) as client:
        client.flushdb()


def depths(deployment: Deployment) -> tuple[int, int]:
    return queue_depth(deployment.settings, "cpu"), queue_depth(deployment.settings, "gpu")


def test_what_the_broker_lost_is_sent_again(deployment: Deployment) -> None:
    encoded_job(deployment.database)
    new_video(deployment.database)
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
    new_video(database)
    claim(database, new_job(database), "encode")
    lose_all_messages(deployment)
    assert keep(deployment, 50).resent == 1
    assert depths(deployment) == (1, 0)


def test_what_a_silent_worker_held_is_taken_back_and_sent(deployment: Deployment) -> None:
    database = deployment.database
    new_video(database)
    job_id = new_job(database)
    held = claim(database, job_id, "encode")
    lose_all_messages(deployment)
    assert keep(deployment, 61) == HousekeepingResult(reaped=1, resent=1)
    assert depths(deployment) == (2, 0)
    again = claim(database, job_id, "encode", seconds=62)
    assert (again.part_id, again.attempt) == (held.part_id, 2)
    succeed(database, again, Made(), seconds=63)


def test_after_a_pause_it_is_sent(deployment: Deployment) -> None:
    database = deployment.database
    new_video(database)
    held = claim(database, encoded_job(database), "plan")
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


def test_a_waiting_part_is_nobodys(deployment: Deployment) -> None:
    database = deployment.database
    job_id = training_job(database, training_count=2)
    lose_all_messages(deployment)
    # The two trainings; the finish waits for them.
    assert keep(deployment, 50).resent == 2
    assert load_part(database, part_id_of(database, job_id, "finish")).last_sent_at is None


def test_without_a_broker_leases_are_looked_after_all_the_same(embedded_deployment: Deployment) -> None:
    database = embedded_deployment.database
    claim(database, new_job(database), "encode")
    settings = settings_of({**embedded_deployment.environment, "STDO_REDIS_URL": "redis://127.0.0.1:9/0"})
    assert housekeep(database, embedded_deployment.store, settings, now=after(61)) == HousekeepingResult(
        reaped=1, resent=0
    )


class TestSweep:
    def leave(self, deployment: Deployment, folder: Path, *, seconds: float = 0) -> str:
        """The key of what a job left behind that was cancelled."""
        job_id = new_job(deployment.database)
        key = work_key(job_id, "encode-1/base.mp4")
        (folder / "object").write_bytes(b"x")
        deployment.store.put_file(key, folder / "object")
        cancel(deployment.database, job_id, seconds=seconds)
        return key

    def test_deletes_after_a_while_what_a_job_left(self, deployment: Deployment, tmp_path: Path) -> None:
        key = self.leave(deployment, tmp_path)
        # Not at once: a worker may not have noticed yet, and still write.
        keep(deployment, SWEEP_AFTER.total_seconds() - 1)
        assert deployment.store.list_prefix("jobs/") == [key]
        keep(deployment, SWEEP_AFTER.total_seconds() + 1)
        assert deployment.store.list_prefix("jobs/") == []

    def test_is_not_bound_to_a_time(self, deployment: Deployment, tmp_path: Path) -> None:
        self.leave(deployment, tmp_path)
        keep(deployment, 10 * 24 * 3600)
        assert deployment.store.list_prefix("jobs/") == []

    def test_happens_once(self, deployment: Deployment, tmp_path: Path) -> None:
        key = self.leave(deployment, tmp_path)
        keep(deployment, 1000)
        deployment.store.put_file(key, tmp_path / "object")
        keep(deployment, 2000)
        assert deployment.store.list_prefix("jobs/") == [key]

    def test_goes_on_where_one_prefix_cant_be_deleted(self, embedded_deployment: Deployment, tmp_path: Path) -> None:
        deployment = embedded_deployment
        first, second = (self.leave(deployment, tmp_path, seconds=seconds) for seconds in range(2))
        stubborn = _StubbornStore(deployment.settings.objects_dir, prefix=first.removesuffix("work/encode-1/base.mp4"))
        housekeep(deployment.database, stubborn, deployment.settings, now=after(1000))
        assert deployment.store.list_prefix("jobs/") == [first]
        assert second != first
        # The next time, it can be.
        keep(deployment, 1010)
        assert deployment.store.list_prefix("jobs/") == []

    def test_waits_for_a_store_that_is_away(self, embedded_deployment: Deployment, tmp_path: Path) -> None:
        database, settings = embedded_deployment.database, embedded_deployment.settings
        self.leave(embedded_deployment, tmp_path)
        claim(database, new_job(database), "encode")
        moment = after(SWEEP_AFTER.total_seconds() + 1)
        away = _AwayStore(settings.objects_dir)
        assert housekeep(database, away, settings, now=moment).reaped == 1
        keep(embedded_deployment, 10_000)
        assert embedded_deployment.store.list_prefix("jobs/") == []


class _StubbornStore(LocalObjectStore):
    def __init__(self, folder: Path, *, prefix: str) -> None:
        super().__init__(folder)
        self.prefix = prefix

    def delete_prefix(self, prefix: str) -> None:
        if prefix == self.prefix:
            raise ObjectStoreUnavailableError(f"{prefix} is locked")
        super().delete_prefix(prefix)


class _AwayStore(LocalObjectStore):
    def check(self) -> None:
        raise ObjectStoreUnavailableError("no answer")

    def delete_prefix(self, prefix: str) -> None:
        raise AssertionError(f"a store that is away was asked to delete {prefix}")


def test_answers_are_forgotten_after_a_day(deployment: Deployment) -> None:
    with deployment.database.transaction() as session:
        for seconds in (0, 3600):
            idempotency.remember(session, LOCAL_CALLER, f"key {seconds}", "f" * 64, "0" * 32, now=after(seconds))
    keep(deployment, 24 * 3600 + 1)
    with deployment.database.snapshot() as session:
        assert idempotency.find(session, LOCAL_CALLER, "key 0", "f" * 64) is None
        assert idempotency.find(session, LOCAL_CALLER, "key 3600", "f" * 64) == "0" * 32
