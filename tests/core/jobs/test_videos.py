from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import func, select

from core.callers import LOCAL_CALLER
from core.errors import VideoInUseError, VideoNotFoundError, VideoRefusedError
from core.jobs import events, job_states, videos
from core.jobs.claims import Claim, Finished, Heartbeat, Made, Probed
from core.jobs.part_kinds import PROBE_VERSION
from core.jobs.progress import StageReport
from core.storage.keys import source_key
from core.tables import Base, PartRow
from stdo.service.resources import Video
from tests.core.samples import (
    MAX_ATTEMPTS,
    NOON,
    REFUSAL,
    SOURCE,
    after,
    beat,
    cancel,
    claim,
    fail,
    load_job,
    load_part,
    new_job,
    new_video,
    part_id_of,
    part_states,
    probed_video,
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
    assert source_key(video_id) == f"videos/{video_id}/source"
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
            "parts": 1,
            "jobs": 0,
            "events": 0,
            "bundles": 0,
            "api_keys": 0,
            "idempotency_keys": 0,
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
                use(session, LOCAL_CALLER, "0" * 32)


def load_video(deployment: Deployment, video_id: str) -> Video:
    with deployment.database.snapshot() as session:
        return videos.to_resource(videos.get(session, LOCAL_CALLER, video_id))


class TestProbe:
    def test_makes_the_video_ready(self, deployment: Deployment) -> None:
        database = deployment.database
        video_id = new_video(database)
        held = claim(database, video_id, "probe")
        assert (held.job_id, held.settings) == (None, None)
        report = StageReport(stage="probe", done=1, total=2, unit="frames")
        assert beat(database, held, 1, report) == Heartbeat(lost=False, cancel_requested=False)
        succeed(database, held, Probed(source=SOURCE), seconds=2)
        video = load_video(deployment, video_id)
        assert (video.state, video.source, video.refusal) == ("ready", SOURCE, None)
        with database.snapshot() as session:
            row = videos.get(session, LOCAL_CALLER, video_id)
        assert (row.probe_version, row.probe_prefix) == (PROBE_VERSION, held.output_prefix)

    def test_refuses_the_video(self, deployment: Deployment) -> None:
        video_id = new_video(deployment.database)
        fail(deployment.database, claim(deployment.database, video_id, "probe"), infrastructure=False)
        video = load_video(deployment, video_id)
        assert (video.state, video.refusal) == ("refused", REFUSAL)


class TestJobsOfAVideo:
    """What a probe means for the jobs that want its video encoded."""

    def test_wait_for_its_probe_and_begin_after_it(self, deployment: Deployment) -> None:
        database = deployment.database
        video_id = new_video(database)
        waiting = [new_job(database, video_id=video_id) for _ in range(2)]
        for job_id in waiting:
            assert part_states(database, job_id) == {"encode": "waiting", "plan": "waiting"}
        assert probe_count(deployment) == 1
        held = claim(database, video_id, "probe", seconds=1)
        succeed(database, held, Probed(source=SOURCE), seconds=2)
        for job_id in waiting:
            assert part_states(database, job_id) == {"encode": "queued", "plan": "waiting"}
            assert (load_job(database, job_id).state, load_job(database, job_id).stage) == ("queued", None)
            assert claim(database, job_id, "encode").inputs[0].prefix == held.output_prefix

    def test_probe_nothing_again(self, deployment: Deployment) -> None:
        database = deployment.database
        video_id = probed_video(database)
        for _ in range(2):
            assert part_states(database, new_job(database, video_id=video_id))["encode"] == "queued"
        assert probe_count(deployment) == 1

    def test_fail_at_once_where_the_probe_refuses_it(self, deployment: Deployment) -> None:
        database = deployment.database
        video_id = new_video(database)
        waiting = [new_job(database, video_id=video_id) for _ in range(2)]
        fail(database, claim(database, video_id, "probe"), infrastructure=False, seconds=7)
        for job_id in waiting:
            job = load_job(database, job_id)
            assert (job.state, job.failure, job.finished_at) == ("failed", REFUSAL.model_dump(), after(7))
            assert part_states(database, job_id) == {"encode": "cancelled", "plan": "cancelled"}

    def test_that_were_cancelled_are_left_alone_by_its_probe(self, deployment: Deployment) -> None:
        database = deployment.database
        video_id = new_video(database)
        job_id = new_job(database, video_id=video_id)
        cancel(database, job_id)
        succeed(database, claim(database, video_id, "probe"), Probed(source=SOURCE))
        assert load_job(database, job_id).state == "cancelled"
        assert part_states(database, job_id) == {"encode": "cancelled", "plan": "cancelled"}

    def test_fail_where_the_probe_is_given_up_and_the_next_has_it_probed_again(self, deployment: Deployment) -> None:
        database = deployment.database
        video_id = new_video(database)
        job_id = new_job(database, video_id=video_id)
        for attempt in range(MAX_ATTEMPTS):
            first = claim(database, video_id, "probe", seconds=attempt * 100)
            assert reap(database, attempt * 100 + 61) == 1
        video = load_video(deployment, video_id)
        assert (video.state, video.refusal) == ("uploaded", None)
        assert load_part(database, first.part_id).state == "failed"
        failure = load_job(database, job_id).failure
        assert failure is not None
        assert failure["type"] == "infrastructure"
        assert "probe was tried 3 times" in failure["detail"]

        again = new_job(database, video_id=video_id, seconds=400)
        held = claim(database, video_id, "probe", seconds=401)
        assert held.part_id != first.part_id
        succeed(database, held, Probed(source=SOURCE), seconds=402)
        assert part_states(database, again)["encode"] == "queued"

    def test_have_a_video_probed_anew_that_an_older_version_has_probed(self, deployment: Deployment) -> None:
        database = deployment.database
        video_id = probed_video(database)
        running = new_job(database, video_id=video_id)
        make_probe_old(deployment, video_id)

        job_id = new_job(database, video_id=video_id, seconds=1)
        assert part_states(database, job_id)["encode"] == "waiting"
        assert load_video(deployment, video_id).state == "ready"
        held = claim(database, video_id, "probe", seconds=2)
        succeed(database, held, Probed(source=SOURCE), seconds=3)

        assert claim(database, job_id, "encode").inputs[0].prefix == held.output_prefix
        # A job keeps to what it has begun with.
        assert claim(database, running, "encode").inputs[0].prefix != held.output_prefix

    def test_fail_where_a_newer_probe_refuses_what_an_older_one_accepted(self, deployment: Deployment) -> None:
        database = deployment.database
        video_id = probed_video(database)
        make_probe_old(deployment, video_id)
        job_id = new_job(database, video_id=video_id, seconds=1)

        fail(database, claim(database, video_id, "probe", seconds=2), infrastructure=False)

        video = load_video(deployment, video_id)
        assert (video.state, video.source, video.refusal) == ("refused", None, REFUSAL)
        assert load_job(database, job_id).state == "failed"

    def test_are_refused_with_the_video_unless_an_older_version_did(self, deployment: Deployment) -> None:
        database = deployment.database
        video_id = new_video(database)
        fail(database, claim(database, video_id, "probe"), infrastructure=False)
        with pytest.raises(VideoRefusedError, match=REFUSAL.detail):
            new_job(database, video_id=video_id)
        make_probe_old(deployment, video_id)

        job_id = new_job(database, video_id=video_id, seconds=1)
        succeed(database, claim(database, video_id, "probe", seconds=2), Probed(source=SOURCE), seconds=3)
        video = load_video(deployment, video_id)
        assert (video.state, video.refusal) == ("ready", None)
        assert part_states(database, job_id)["encode"] == "queued"

    def test_that_come_while_the_probe_ends_begin_all_the_same(self, deployment: Deployment) -> None:
        database = deployment.database
        for _ in range(5):
            video_id = new_video(database)
            held = claim(database, video_id, "probe")
            together = Barrier(2)

            def end(held: Claim = held, together: Barrier = together) -> None:
                together.wait()
                succeed(database, held, Probed(source=SOURCE))

            def begin(video_id: str = video_id, together: Barrier = together) -> str:
                together.wait()
                return new_job(database, video_id=video_id)

            with ThreadPoolExecutor(2) as pool:
                ended, begun = pool.submit(end), pool.submit(begin)
                ended.result()
                assert part_states(database, begun.result())["encode"] == "queued"


def probe_count(deployment: Deployment) -> int:
    with deployment.database.snapshot() as session:
        statement = select(func.count()).select_from(PartRow).where(PartRow.kind == "probe")
        return session.scalar(statement) or 0


def make_probe_old(deployment: Deployment, video_id: str) -> None:
    with deployment.database.transaction() as session:
        videos.get(session, LOCAL_CALLER, video_id).probe_version = PROBE_VERSION - 1
