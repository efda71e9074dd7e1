from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from core.jobs.bundles import bundle_prefix
from core.tables import new_id
from tests.app.live import LiveApi, assert_problem
from tests.app.published import LOW_RES, Published, publish
from tests.core.samples import new_job

IMMUTABLE = "private, max-age=31536000, immutable"

NONSENSE_PATHS = [
    "nothing",
    "",
    "base.mp4/",
    "networks",
    "../1/manifest.json",
    "%2e%2e%2f%2e%2e%2fvideos",
    "..%5c..%5cx",
    "%00",
    "base.mp4%00",
    "%ff%fe",
    "/etc/passwd",
    "a" * 5000,
]


@pytest.fixture
def published(api: LiveApi, tmp_path: Path) -> Published:
    return publish(api, tmp_path)


@pytest.fixture
def local(embedded_api: LiveApi, tmp_path: Path) -> Published:
    """Where the API serves the files itself."""
    return publish(embedded_api, tmp_path)


def tag_of(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()}"'


class TestWholeFiles:
    def test_the_manifest_comes_from_the_api(self, published: Published) -> None:
        response = published.get("manifest.json")
        assert (response.status_code, response.content) == (200, b'{"format": "stdo-bundle"}')
        assert response.headers["content-type"] == "application/json"
        assert response.headers["cache-control"] == IMMUTABLE
        assert response.headers["etag"] == tag_of(response.content)

    def test_other_files_come_from_where_they_lie(self, published: Published) -> None:
        response = published.get("base.mp4")
        if published.api.is_embedded:
            assert response.status_code == 200
        else:
            assert response.status_code == 307
            assert response.headers["cache-control"].startswith("private, max-age=")
            # As any client follows it: with the range, and without the key, which is not for the store.
            location = response.headers["location"]
            part = httpx.get(location, headers={"Range": "bytes=10-19"}, trust_env=False)
            assert (part.status_code, part.content) == (206, LOW_RES[10:20])
            response = httpx.get(location, trust_env=False)
        assert (response.status_code, response.content) == (200, LOW_RES)
        assert response.headers["content-type"] == "video/mp4"
        assert response.headers["cache-control"] == IMMUTABLE

    def test_head(self, published: Published) -> None:
        response = published.get("base.mp4", "HEAD")
        assert (response.status_code, response.content) == (200, b"")
        assert response.headers["content-length"] == str(len(LOW_RES))
        assert response.headers["accept-ranges"] == "bytes"
        assert response.headers["etag"] == tag_of(LOW_RES)

    def test_not_modified(self, published: Published) -> None:
        for given in (tag_of(LOW_RES), f"W/{tag_of(LOW_RES)}", f'"x", {tag_of(LOW_RES)}', "*"):
            response = published.get("base.mp4", If_None_Match=given)
            assert (response.status_code, response.content) == (304, b"")
            assert response.headers["etag"] == tag_of(LOW_RES)
        assert published.get("manifest.json", If_None_Match='"x"').status_code == 200

    def test_content_types(self, local: Published) -> None:
        assert local.get("networks/0.onnx").headers["content-type"] == "application/octet-stream"


class TestRanges:
    def test_one_range(self, local: Published) -> None:
        asked = {"bytes=10-19": (10, 19), "bytes=490-": (490, 499), "bytes=-10": (490, 499), "Bytes= 1-1000": (1, 499)}
        for header, (first, last) in asked.items():
            response = local.get("base.mp4", Range=header)
            assert (response.status_code, response.content) == (206, LOW_RES[first : last + 1])
            assert response.headers["content-range"] == f"bytes {first}-{last}/500"
            assert response.headers["content-length"] == str(last - first + 1)
            assert response.headers["etag"] == tag_of(LOW_RES)

    def test_outside(self, local: Published) -> None:
        response = local.get("base.mp4", Range="bytes=500-")
        assert_problem(response, 416, "range-not-satisfiable")
        assert response.headers["content-range"] == "bytes */500"

    def test_what_is_no_single_range_is_ignored(self, local: Published) -> None:
        for header in ("bytes=0-1,5-6", "bytes=a-b", "lines=1-2"):
            response = local.get("base.mp4", Range=header)
            assert (response.status_code, response.content) == (200, LOW_RES)

    def test_if_range(self, local: Published) -> None:
        def status(if_range: str) -> int:
            return local.get("base.mp4", Range="bytes=0-9", If_Range=if_range).status_code

        assert status(tag_of(LOW_RES)) == 206
        assert status('"another"') == 200
        assert status(f"W/{tag_of(LOW_RES)}") == 200
        assert status("Wed, 21 Oct 2015 07:28:00 GMT") == 200

    @pytest.mark.parametrize("wanted", ["bytes=0-9", "bytes=500-"])
    def test_head_heeds_no_range(self, published: Published, wanted: str) -> None:
        response = published.get("base.mp4", "HEAD", Range=wanted)
        assert (response.status_code, response.headers["content-length"]) == (200, str(len(LOW_RES)))


class TestWhatIsNotThere:
    def test_paths(self, local: Published) -> None:
        for path in NONSENSE_PATHS:
            response = local.get(path)
            assert response.status_code == 404, path
            assert response.headers["content-type"] == "application/problem+json"

    def test_paths_that_a_database_refuses(self, published: Published) -> None:
        assert_problem(published.get("%00"), 404, "bundle-file-not-found")
        assert_problem(published.get("quality/nothing.png"), 404, "bundle-file-not-found")

    def test_jobs(self, api: LiveApi) -> None:
        job_id = new_job(api.deployment.database)
        path: Callable[[str], str] = "/v1/jobs/{}/bundle/manifest.json".format
        assert_problem(api.client.get(path(job_id)), 409, "bundle-not-ready")
        for unknown in (new_id(), "a%00b", "x"):
            assert_problem(api.client.get(path(unknown)), 404, "job-not-found")

    def test_an_object_that_was_lost(self, local: Published) -> None:
        local.api.deployment.store.delete_prefix(bundle_prefix(local.job_id, 1))
        problem = assert_problem(local.get("base.mp4"), 500, "internal-error")
        assert "bundles/" not in problem["detail"]
