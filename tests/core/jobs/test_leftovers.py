from __future__ import annotations

from pathlib import Path

import pytest

from core.callers import LOCAL_CALLER
from core.jobs import jobs, leftovers
from core.jobs.claims import Finished, Made
from core.storage.keys import bundle_prefix, job_prefixes, work_key
from tests.core.samples import cancel, claim, fail, reap, sample_bundle, succeed, training_job
from tests.deployments import Deployment


@pytest.fixture
def an_object(tmp_path: Path) -> Path:
    path = tmp_path / "object"
    path.write_bytes(b"x")
    return path


def put_all(deployment: Deployment, job_id: str, an_object: Path) -> list[str]:
    """A work file, and a bundle of each of two attempts."""
    keys = [f"{bundle_prefix(job_id, attempt)}manifest.json" for attempt in (1, 2)]
    keys.append(work_key(job_id, "encode-1/base.mp4"))
    for key in keys:
        deployment.store.put_file(key, an_object)
    return keys


def keys_of(deployment: Deployment, job_id: str) -> list[str]:
    return [key for prefix in job_prefixes(job_id) for key in deployment.store.list_prefix(prefix)]


def test_a_job_that_goes_on_keeps_everything(deployment: Deployment, an_object: Path) -> None:
    job_id = training_job(deployment.database)
    keys = put_all(deployment, job_id, an_object)

    leftovers.remove(deployment.database, deployment.store, job_id)

    assert sorted(keys_of(deployment, job_id)) == sorted(keys)


@pytest.mark.parametrize("end", ["failed", "cancelled", "deleted"])
def test_one_without_a_bundle_keeps_nothing(deployment: Deployment, an_object: Path, end: str) -> None:
    database = deployment.database
    job_id = training_job(database)
    put_all(deployment, job_id, an_object)
    if end == "failed":
        fail(database, claim(database, job_id, "train", 0), infrastructure=False)
    else:
        cancel(database, job_id)
    if end == "deleted":
        with database.transaction() as session:
            jobs.remove(session, LOCAL_CALLER, job_id)

    leftovers.remove(database, deployment.store, job_id)

    assert keys_of(deployment, job_id) == []


def test_a_published_bundle_stays_and_that_of_an_earlier_attempt_does_not(
    deployment: Deployment, an_object: Path
) -> None:
    database = deployment.database
    job_id = training_job(database, training_count=1)
    succeed(database, claim(database, job_id, "train", 0), Made())
    claim(database, job_id, "finish")
    reap(database, 100)
    bundle = sample_bundle(job_id, attempt=2)
    succeed(database, claim(database, job_id, "finish", seconds=101), Finished(bundle=bundle), seconds=102)
    put_all(deployment, job_id, an_object)

    leftovers.remove(database, deployment.store, job_id)

    assert keys_of(deployment, job_id) == [f"{bundle.prefix}manifest.json"]
