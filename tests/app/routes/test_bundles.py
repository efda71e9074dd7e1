from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from core.storage.keys import bundle_prefix
from core.tables import new_id
from stdo.bundle.manifest import Manifest
from tests.app.live import LiveApi, assert_problem, live_api
from tests.app.published import BASE_STREAM, Published, publish
from tests.core.samples import new_job
from tests.deployments import Deployment

FOREVER = "max-age=31536000, immutable"

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
        assert response.status_code == 200
        assert Manifest.model_validate_json(response.content).bundle_id == published.job_id
        assert response.headers["content-type"] == "application/json"
        audience = "public" if published.api.is_embedded else "private"
        assert response.headers["cache-control"] == f"{audience}, {FOREVER}"
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
            assert (part.status_code, part.content) == (206, BASE_STREAM[10:20])
            response = httpx.get(location, trust_env=False)
        assert (response.status_code, response.content) == (200, BASE_STREAM)
        assert response.headers["content-type"] == "video/mp4"
        audience = "public" if published.api.is_embedded else "private"
        assert response.headers["cache-control"] == f"{audience}, {FOREVER}"

    def test_with_keys_caches_keep_it_for_one_user(self, embedded_deployment: Deployment, tmp_path: Path) -> None:
        with live_api(embedded_deployment, keys_required=True) as locked:
            response = publish(locked, tmp_path).get("base.mp4")
        assert (response.content, response.headers["cache-control"]) == (BASE_STREAM, f"private, {FOREVER}")

    def test_the_playlist_comes_from_the_api_too(self, published: Published) -> None:
        # It names base.mp4 relative to its own address.
        response = published.get("base.m3u8")
        assert (response.status_code, response.content) == (200, b"#EXTM3U")
        assert response.headers["content-type"] == "application/vnd.apple.mpegurl"

    def test_head(self, published: Published) -> None:
        response = published.get("base.mp4", "HEAD")
        assert (response.status_code, response.content) == (200, b"")
        assert response.headers["content-length"] == str(len(BASE_STREAM))
        assert response.headers["accept-ranges"] == "bytes"
        assert response.headers["etag"] == tag_of(BASE_STREAM)

    def test_not_modified(self, published: Published) -> None:
        for given in (tag_of(BASE_STREAM), f"W/{tag_of(BASE_STREAM)}", f'"x", {tag_of(BASE_STREAM)}', "*"):
            response = published.get("base.mp4", If_None_Match=given)
            assert (response.status_code, response.content) == (304, b"")
            assert response.headers["etag"] == tag_of(BASE_STREAM)
        assert published.get("manifest.json", If_None_Match='"x"').status_code == 200

    def test_content_types(self, local: Published) -> None:
        expected = {
            "manifest.json": "application/json",
            "base.mp4": "video/mp4",
            "base.m3u8": "application/vnd.apple.mpegurl",
            "segments.bin": "application/octet-stream",
            "networks/0.onnx": "application/octet-stream",
        }
        for path, content_type in expected.items():
            for method in ("GET", "HEAD"):
                assert local.get(path, method).headers["content-type"] == content_type


class TestRanges:
    def test_one_range(self, local: Published) -> None:
        asked = {"bytes=10-19": (10, 19), "bytes=490-": (490, 499), "bytes=-10": (490, 499), "Bytes= 1-1000": (1, 499)}
        for header, (first, last) in asked.items():
            response = local.get("base.mp4", Range=header)
            assert (response.status_code, response.content) == (206, BASE_STREAM[first : last + 1])
            assert response.headers["content-range"] == f"bytes {first}-{last}/500"
            assert response.headers["content-length"] == str(last - first + 1)
            assert response.headers["etag"] == tag_of(BASE_STREAM)

    def test_outside(self, local: Published) -> None:
        response = local.get("base.mp4", Range="bytes=500-")
        assert_problem(response, 416, "range-not-satisfiable")
        assert response.headers["content-range"] == "bytes */500"

    def test_several_ranges(self, local: Published) -> None:
        response = local.get("base.mp4", Range="bytes=0-1,5-6")
        assert response.status_code == 206
        assert response.headers["content-type"].startswith("multipart/byteranges; boundary=")
        for first, last in ((0, 1), (5, 6)):
            head = f"Content-Type: video/mp4\r\nContent-Range: bytes {first}-{last}/500\r\n\r\n".encode()
            assert head + BASE_STREAM[first : last + 1] in response.content

    def test_what_is_no_range_is_ignored(self, local: Published) -> None:
        for header in ("bytes=a-b", "bytes=5-2", "bytes=-", "lines=1-2", "bytes", ""):
            response = local.get("base.mp4", Range=header)
            assert (response.status_code, response.content) == (200, BASE_STREAM), header

    def test_of_the_manifest(self, published: Published) -> None:
        whole = published.get("manifest.json").content
        part = published.get("manifest.json", Range="bytes=2-7")
        expected = (206, whole[2:8]) if published.api.is_embedded else (200, whole)
        assert (part.status_code, part.content) == expected

    def test_if_range(self, local: Published) -> None:
        def status(if_range: str) -> int:
            return local.get("base.mp4", Range="bytes=0-9", If_Range=if_range).status_code

        assert status(tag_of(BASE_STREAM)) == 206
        assert status('"another"') == 200
        assert status(f"W/{tag_of(BASE_STREAM)}") == 200
        assert status("Wed, 21 Oct 2015 07:28:00 GMT") == 200

    @pytest.mark.parametrize("wanted", ["bytes=0-9", "bytes=500-"])
    def test_head_heeds_no_range(self, published: Published, wanted: str) -> None:
        response = published.get("base.mp4", "HEAD", Range=wanted)
        assert (response.status_code, response.headers["content-length"]) == (200, str(len(BASE_STREAM)))


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
