from __future__ import annotations

import pytest
from sqlalchemy import func, select

from core.callers import LOCAL_CALLER
from core.errors import VideoInUseError, VideoNotFoundError
from core.jobs import events, job_states, videos
from core.jobs.claims import Finished, Heartbeat, Made, Probed
from core.jobs.progress import StageReport
from core.tables import Base
from tests.core.samples import (
    MAX_ATTEMPTS,
    NOON,
    REFUSAL,
    SOURCE,
    after,
    beat,
    claim,
    fail,
    load_part,
    new_job,
    new_video,
    part_id_of,
    reap,
    sample_bundle,
    succeed,
    training_job,
)
from tests.deployments import Deployment


def row_counts(deployment: Deployment) -> dict[str, int]:
    with deployment.database.snapshot() as session:
        tables = Base.metadata.sorted_tables
        return {table.name: session.scalar(select(func.count()).select_from(table)) or 0 for table in tables}


def test_an_upload_is_to_be_probed(deployment: Deployment) -> None:
    video_id = new_video(deployment.database, file_name="../../Ferien 2026.mp4")
    with deployment.database.snapshot() as session:
        video = videos.to_resource(videos.get(session, LOCAL_CALLER, video_id))
    assert (video.state, video.file_name, video.created_at) == ("uploaded", "../../Ferien 2026.mp4", NOON)
    assert (video.source, video.refusal, video.input_normalisations) == (None, None, ())
    assert videos.source_key(video_id) == f"videos/{video_id}/source"
    assert part_id_of(deployment.database, video_id, "probe")


def test_an_upload_may_bring_its_id(deployment: Deployment) -> None:
    with deployment.database.transaction() as session:
        video = videos.create(
            session, LOCAL_CALLER, video_id="ab" * 16, file_name="a.mp4", byte_count=5, sha256="b" * 64, now=NOON
        )
    assert video.id == "ab" * 16


def test_listing_by_state(deployment: Deployment) -> None:
    first, second = (new_video(deployment.database, seconds=seconds) for seconds in range(2))
    with deployment.database.transaction() as session:
        videos.get(session, LOCAL_CALLER, first).state = "ready"
    with deployment.database.snapshot() as session:
        assert [video.id for video in videos.list_page(session, LOCAL_CALLER, state="ready").items] == [first]
        assert [video.id for video in videos.list_page(session, LOCAL_CALLER, state="uploaded").items] == [second]
        assert videos.list_page(session, LOCAL_CALLER, state="refused").items == ()


class TestRemove:
    def test_takes_ended_jobs_and_bundles_along(self, deployment: Deployment) -> None:
        database = deployment.database
        job_id = training_job(database, training_count=1)
        succeed(database, claim(database, job_id, "train", 0), Made())
        succeed(database, claim(database, job_id, "finish"), Finished(bundle=sample_bundle(job_id)))
        kept = new_video(database)
        with database.snapshot() as session:
            video_id = next(video.id for video in videos.list_page(session, LOCAL_CALLER).items if video.id != kept)
        with database.transaction() as session:
            prefixes = videos.remove(session, LOCAL_CALLER, video_id)
        assert prefixes == (f"videos/{video_id}/", f"jobs/{job_id}/", f"bundles/{job_id}/")
        assert row_counts(deployment) == {
            "videos": 1,
            "tasks": 1,
            "jobs": 0,
            "events": 0,
            "bundles": 0,
            "api_keys": 0,
        }

    def test_is_refused_while_a_job_goes_on(self, deployment: Deployment) -> None:
        database = deployment.database
        video_id = new_video(database)
        ended, active = (new_job(database, video_id=video_id) for _ in range(2))
        with database.transaction() as session:
            job_states.cancel(session, LOCAL_CALLER, ended, now=after(1))
        with pytest.raises(VideoInUseError) as raised, database.transaction() as session:
            videos.remove(session, LOCAL_CALLER, video_id)
        assert active in raised.value.detail
        assert ended not in raised.value.detail
        with database.snapshot() as session:
            assert len(events.list_after(session, LOCAL_CALLER, ended, 0)) == 2

    def test_ends_a_probe(self, deployment: Deployment) -> None:
        database = deployment.database
        video_id = new_video(database)
        held = claim(database, video_id, "probe")
        with database.transaction() as session:
            videos.remove(session, LOCAL_CALLER, video_id)
        with database.transaction() as session:
            assert job_states.heartbeat(session, held, now=after(1)).lost
        with database.transaction() as session:
            assert job_states.reap(session, now=after(1000), max_attempts=1) == 0

    def test_of_no_video(self, deployment: Deployment) -> None:
        for use in (videos.remove, videos.get):
            with pytest.raises(VideoNotFoundError), deployment.database.transaction() as session:
                use(session, "0" * 32)


class TestProbe:
    def test_makes_the_video_ready(self, deployment: Deployment) -> None:
        database = deployment.database
        video_id = new_video(database)
        held = claim(database, video_id, "probe")
        assert (held.job_id, held.settings) == (None, None)
        report = StageReport(stage="probe", done=1, total=2, unit="frames")
        assert beat(deployment.database, held, 1, report) == Heartbeat(lost=False, cancel_requested=False)
        succeed(database, held, Probed(source=SOURCE), seconds=2)
        with database.snapshot() as session:
            video = videos.to_resource(videos.get(session, LOCAL_CALLER, video_id))
        assert (video.state, video.source, video.refusal) == ("ready", SOURCE, None)

    def test_refuses_the_video(self, deployment: Deployment) -> None:
        database = deployment.database
        video_id = new_video(database)
        fail(deployment.database, claim(database, video_id, "probe"), infrastructure=False)
        with database.snapshot() as session:
            video = videos.to_resource(videos.get(session, LOCAL_CALLER, video_id))
        assert (video.state, video.refusal) == ("refused", REFUSAL)

    def test_that_is_given_up_leaves_the_video_for_jobs_to_probe(self, deployment: Deployment) -> None:
        database = deployment.database
        video_id = new_video(database)
        for attempt in range(MAX_ATTEMPTS):
            claim(database, video_id, "probe", seconds=attempt * 100)
            assert reap(deployment.database, attempt * 100 + 61) == 1
        with database.snapshot() as session:
            video = videos.to_resource(videos.get(session, LOCAL_CALLER, video_id))
        assert (video.state, video.refusal) == ("uploaded", None)
        assert load_part(database, part_id_of(database, video_id, "probe")).state == "failed"
        assert claim(database, new_job(database, video_id=video_id), "encode").attempt == 1
