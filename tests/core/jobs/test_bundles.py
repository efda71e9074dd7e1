from __future__ import annotations

import pytest

from core.callers import LOCAL_CALLER
from core.errors import BundleFileNotFoundError, BundleNotReadyError, JobNotFoundError
from core.jobs import bundles
from core.jobs.bundles import BundleFile
from core.jobs.claims import Finished, Made
from core.storage.keys import bundle_prefix
from tests.core.samples import claim, new_job, sample_bundle, succeed, training_job
from tests.deployments import Deployment


def find(deployment: Deployment, job_id: str, path: str) -> BundleFile:
    with deployment.database.snapshot() as session:
        return bundles.find_file(session, LOCAL_CALLER, job_id, path)


@pytest.fixture
def job_id(deployment: Deployment) -> str:
    database = deployment.database
    made = training_job(database, training_count=1)
    succeed(database, claim(database, made, "train", 0), Made())
    succeed(database, claim(database, made, "finish"), Finished(bundle=sample_bundle(made, attempt=2)))
    return made


@pytest.mark.parametrize(
    ("path", "byte_count"),
    [
        ("manifest.json", 2000),
        ("base.mp4", 500),
        ("networks/1.onnx", 101),
        ("segments.bin", 100),
        ("base.m3u8", 60),
        ("index.bin", 7),
        ("quality/report.json", 9000),
    ],
)
def test_every_file_is_found(deployment: Deployment, job_id: str, path: str, byte_count: int) -> None:
    assert find(deployment, job_id, path) == BundleFile(
        key=f"bundles/{job_id}/2/{path}", byte_count=byte_count, sha256=f"{byte_count:064x}"
    )


@pytest.mark.parametrize("path", ["", "networks", "networks/2.onnx", "../1/manifest.json", "./manifest.json", "/"])
def test_no_other_path_is(deployment: Deployment, job_id: str, path: str) -> None:
    with pytest.raises(BundleFileNotFoundError):
        find(deployment, job_id, path)


def test_before_the_end_there_is_none(deployment: Deployment) -> None:
    waiting = new_job(deployment.database)
    with pytest.raises(BundleNotReadyError, match="queued"):
        find(deployment, waiting, "manifest.json")
    with pytest.raises(JobNotFoundError):
        find(deployment, "0" * 32, "manifest.json")


def test_no_two_attempts_share_a_folder() -> None:
    assert bundle_prefix("ab", 1) == "bundles/ab/1/"
    assert bundle_prefix("ab", 2) == "bundles/ab/2/"
