"""What belongs to another tenant answers as what does not exist."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.orm import Session

from core.callers import LOCAL_CALLER, Caller
from core.errors import JobNotFoundError, ServiceError, VideoNotFoundError
from core.jobs import bundles, events, job_states, jobs, videos
from core.jobs.claims import Finished, Made
from core.presets import resolve_settings
from tests.core.samples import NOON, claim, load_job, new_job, sample_bundle, succeed, training_job
from tests.deployments import Deployment

STRANGER = Caller(tenant="stranger", api_key_id=None)
NOBODYS = "0" * 32

VIDEO_CALLS: dict[str, Callable[[Session, Caller, str], Any]] = {
    "get": videos.get,
    "get locked": lambda session, caller, video_id: videos.get(session, caller, video_id, lock=True),
    "remove": videos.remove,
    "encode": lambda session, caller, video_id: jobs.create(
        session, caller, video_id=video_id, preset="fast", settings=resolve_settings("fast", {}), now=NOON
    ),
}
JOB_CALLS: dict[str, Callable[[Session, Caller, str], Any]] = {
    "get": jobs.get,
    "get locked": lambda session, caller, job_id: jobs.get(session, caller, job_id, lock=True),
    "get resource": jobs.get_resource,
    "remove": jobs.remove,
    "cancel": lambda session, caller, job_id: job_states.cancel(session, caller, job_id, now=NOON),
    "bundle": lambda session, caller, job_id: bundles.find_file(session, caller, job_id, "manifest.json"),
}


@pytest.fixture
def job_id(deployment: Deployment) -> str:
    """A job of the local tenant, with a bundle."""
    database = deployment.database
    made = training_job(database, training_count=1)
    succeed(database, claim(database, made, "train", 0), Made())
    succeed(database, claim(database, made, "finish"), Finished(bundle=sample_bundle(made)))
    return made


def answer(
    deployment: Deployment, call: Callable[[Session, Caller, str], Any], owner: str, error: type[ServiceError]
) -> str:
    """What a stranger is told, without the id."""
    with pytest.raises(error) as raised, deployment.database.transaction() as session:
        call(session, STRANGER, owner)
    return raised.value.detail.replace(owner, "ID")


@pytest.mark.parametrize("call", VIDEO_CALLS)
def test_anothers_video_does_not_exist(deployment: Deployment, job_id: str, call: str) -> None:
    video_id = load_job(deployment.database, job_id).video_id
    told = answer(deployment, VIDEO_CALLS[call], video_id, VideoNotFoundError)
    assert told == answer(deployment, VIDEO_CALLS[call], NOBODYS, VideoNotFoundError)
    with deployment.database.snapshot() as session:
        assert videos.get(session, LOCAL_CALLER, video_id).id == video_id


@pytest.mark.parametrize("call", JOB_CALLS)
def test_anothers_job_does_not_exist(deployment: Deployment, job_id: str, call: str) -> None:
    told = answer(deployment, JOB_CALLS[call], job_id, JobNotFoundError)
    assert told == answer(deployment, JOB_CALLS[call], NOBODYS, JobNotFoundError)
    assert load_job(deployment.database, job_id).state == "succeeded"


def test_anothers_rows_are_not_listed(deployment: Deployment, job_id: str) -> None:
    with deployment.database.transaction() as session:
        theirs = videos.create(session, STRANGER, file_name="a.mp4", byte_count=5, sha256="b" * 64, now=NOON).id
        settings = resolve_settings("fast", {})
        their_job = jobs.create(session, STRANGER, video_id=theirs, preset="fast", settings=settings, now=NOON).id
    video_id = load_job(deployment.database, job_id).video_id
    with deployment.database.snapshot() as session:
        for caller, video, job in ((LOCAL_CALLER, video_id, job_id), (STRANGER, theirs, their_job)):
            assert [each.id for each in videos.list_page(session, caller).items] == [video]
            assert [each.id for each in jobs.list_page(session, caller).items] == [job]
        assert jobs.list_page(session, STRANGER, video_id=video_id).items == ()
        assert jobs.list_page(session, STRANGER, state="succeeded").items == ()


def test_a_cursor_of_anothers_listing_shows_nothing_of_it(deployment: Deployment) -> None:
    for seconds in range(3):
        new_job(deployment.database, seconds=seconds)
    with deployment.database.snapshot() as session:
        cursor = jobs.list_page(session, LOCAL_CALLER, limit=1).next_cursor
        assert cursor is not None
        assert jobs.list_page(session, STRANGER, cursor=cursor).items == ()


def test_anothers_events_are_as_none(deployment: Deployment, job_id: str) -> None:
    with deployment.database.snapshot() as session:
        assert len(events.list_after(session, LOCAL_CALLER, job_id, 0)) == 6
        assert events.list_after(session, STRANGER, job_id, 0) == events.list_after(session, STRANGER, NOBODYS, 0) == []
