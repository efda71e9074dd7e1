from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import func, select

from core.callers import LOCAL_CALLER, Caller
from core.errors import IdempotencyKeyReusedError, RequestAnsweredMeanwhileError
from core.jobs import idempotency, videos
from core.jobs.idempotency import request_fingerprint
from core.tables import VideoRow
from tests.core.samples import NOON
from tests.deployments import Deployment

FINGERPRINT = request_fingerprint("POST", "/v1/videos", {"file": "a" * 64})


def create_video(deployment: Deployment, key: str, fingerprint: str = FINGERPRINT) -> str:
    """Upload a video as the API does."""
    with deployment.database.transaction() as session:
        row = videos.create(session, LOCAL_CALLER, file_name="a.mp4", byte_count=5, sha256="b" * 64, now=NOON)
        idempotency.remember(session, LOCAL_CALLER, key, fingerprint, row.id, now=NOON)
    return row.id


def find(deployment: Deployment, key: str, fingerprint: str = FINGERPRINT) -> str | None:
    with deployment.database.snapshot() as session:
        return idempotency.find(session, LOCAL_CALLER, key, fingerprint)


def video_count(deployment: Deployment) -> int:
    with deployment.database.snapshot() as session:
        return session.scalar(select(func.count()).select_from(VideoRow)) or 0


def test_the_same_request_gets_the_same_answer(deployment: Deployment) -> None:
    assert find(deployment, "one") is None
    answer = create_video(deployment, "one")
    assert find(deployment, "one") == answer
    assert find(deployment, "another") is None


def test_another_request_is_refused(deployment: Deployment) -> None:
    create_video(deployment, "one")
    with pytest.raises(IdempotencyKeyReusedError, match="'one'"):
        find(deployment, "one", request_fingerprint("POST", "/v1/videos", {"file": "b" * 64}))


def test_tenants_have_keys_of_their_own(deployment: Deployment) -> None:
    create_video(deployment, "one")
    stranger = Caller(tenant="stranger", api_key_id=None)
    with deployment.database.transaction() as session:
        assert idempotency.find(session, stranger, "one", "0" * 64) is None
        idempotency.remember(session, stranger, "one", "0" * 64, "0" * 32, now=NOON)
    assert find(deployment, "one") is not None


def test_what_is_rolled_back_is_not_remembered(deployment: Deployment) -> None:
    create_video(deployment, "one")
    with pytest.raises(RequestAnsweredMeanwhileError):
        create_video(deployment, "one")
    assert video_count(deployment) == 1


def test_of_requests_at_the_same_time_one_makes_something(deployment: Deployment) -> None:
    count = 6
    together = Barrier(count)

    def ask(_: int) -> str | None:
        together.wait()
        try:
            return create_video(deployment, "one")
        except RequestAnsweredMeanwhileError:
            return find(deployment, "one")

    with ThreadPoolExecutor(count) as pool:
        answers = set(pool.map(ask, range(count)))
    assert len(answers) == 1
    assert None not in answers
    assert video_count(deployment) == 1


class TestFingerprint:
    def test_does_not_depend_on_the_order_of_names(self) -> None:
        first = request_fingerprint("POST", "/v1/jobs", {"preset": "fast", "settings": {"scale": 2, "seed": 1}})
        assert first == request_fingerprint("POST", "/v1/jobs", {"settings": {"seed": 1, "scale": 2}, "preset": "fast"})
        assert len(first) == 64

    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("PUT", "/v1/jobs", {"preset": "fast"}),
            ("POST", "/v1/videos", {"preset": "fast"}),
            ("POST", "/v1/jobs", {"preset": "quality"}),
            ("POST", "/v1/jobs", {}),
        ],
    )
    def test_depends_on_everything_else(self, method: str, path: str, body: dict[str, str]) -> None:
        assert request_fingerprint(method, path, body) != request_fingerprint("POST", "/v1/jobs", {"preset": "fast"})
