from __future__ import annotations

import base64

import pytest

from core.callers import LOCAL_CALLER
from core.errors import MalformedCursorError
from core.jobs import job_states, jobs, paging, videos
from tests.core.samples import NOON, new_job, new_video
from tests.deployments import Deployment


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode("latin-1")).decode()


def listed(deployment: Deployment, limit: int, cursor: str | None = None) -> tuple[list[str], str | None]:
    with deployment.database.snapshot() as session:
        page = videos.list_page(session, LOCAL_CALLER, cursor=cursor, limit=limit)
    return [video.id for video in page.items], page.next_cursor


def test_pages_join_without_gap_or_repeat(deployment: Deployment) -> None:
    # Some were uploaded in the same instant, where the id decides.
    newest_first = [new_video(deployment.database, seconds=seconds) for seconds in (0, 1, 1, 1, 1, 2, 3)][::-1]
    seen: list[str] = []
    cursor = None
    pages = 0
    while True:
        ids, cursor = listed(deployment, 2, cursor)
        seen += ids
        pages += 1
        if cursor is None:
            break
    assert pages == 4
    assert len(set(seen)) == 7
    assert (seen[:2], seen[-1]) == (newest_first[:2], newest_first[-1])
    assert sorted(seen) == sorted(newest_first)


def test_a_new_row_does_not_shift_the_next_page(deployment: Deployment) -> None:
    first, second, third = (new_video(deployment.database, seconds=seconds) for seconds in range(3))
    ids, cursor = listed(deployment, 1)
    assert ids == [third]
    new_video(deployment.database, seconds=10)
    assert listed(deployment, 2, cursor) == ([second, first], None)


def test_the_cursor_outlives_its_row(deployment: Deployment) -> None:
    first, second = (new_video(deployment.database, seconds=seconds) for seconds in range(2))
    _, cursor = listed(deployment, 1)
    with deployment.database.transaction() as session:
        videos.remove(session, LOCAL_CALLER, second)
    assert listed(deployment, 1, cursor) == ([first], None)


def test_nothing_there(deployment: Deployment) -> None:
    assert listed(deployment, 1) == ([], None)


def test_jobs_by_state_and_video(deployment: Deployment) -> None:
    database = deployment.database
    video_id = new_video(database)
    mine = [new_job(database, video_id=video_id, seconds=seconds) for seconds in range(3)]
    other = new_job(database, seconds=5)
    with database.transaction() as session:
        job_states.cancel(session, LOCAL_CALLER, mine[1], now=NOON)
    with database.snapshot() as session:

        def ids(**filters: str) -> list[str]:
            return [job.id for job in jobs.list_page(session, LOCAL_CALLER, **filters).items]  # type: ignore[arg-type]

        assert ids() == [other, mine[2], mine[1], mine[0]]
        assert ids(video_id=video_id) == [mine[2], mine[1], mine[0]]
        assert ids(state="cancelled") == [mine[1]]
        assert ids(state="queued", video_id=video_id) == [mine[2], mine[0]]
        assert ids(state="failed") == []


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "!!!!",
        "ü",
        encoded(""),
        encoded("abc"),
        encoded("2026-03-01T12:00:00+00:00"),
        encoded("2026-03-01T12:00:00 abc"),
        encoded("2026-03-01T12:00:00+00:00 "),
        encoded("2026-03-01T12:00:00+00:00 a;b"),
        encoded("2026-03-01T12:00:00+00:00 abc def"),
        encoded("2026-13-01T12:00:00+00:00 abc"),
        encoded("0001-01-01T00:00:00+23:00 abc"),
        encoded("9" * 100_000 + " abc"),
        encoded("2026-03-01T12:00:00+00:00 \xe9"),
    ],
)
def test_a_malformed_cursor_is_named(embedded_deployment: Deployment, cursor: str) -> None:
    with pytest.raises(MalformedCursorError) as raised:
        listed(embedded_deployment, 1, cursor)
    assert [error.field for error in raised.value.errors] == ["query.cursor"]


def test_the_cursor_is_read_as_it_was_written() -> None:
    cursor = paging.encode_cursor(NOON, "abc123")
    assert paging.decode_cursor(cursor) == (NOON, "abc123")
    assert cursor.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize("limit", [0, -1, paging.MAX_LIMIT + 1])
def test_a_page_has_a_size(embedded_deployment: Deployment, limit: int) -> None:
    with pytest.raises(ValueError, match="1 to 100"):
        listed(embedded_deployment, limit)
