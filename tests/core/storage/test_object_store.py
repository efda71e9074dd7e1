from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from core.errors import InvalidObjectKeyError, ObjectNotFoundError, ObjectStoreUnavailableError
from core.storage.local_store import ABANDONED_AFTER_SECONDS, LocalObjectStore
from core.storage.object_store import ObjectStore, make_object_store
from core.storage.s3_store import MULTIPART_PART_BYTES, S3ObjectStore
from tests.deployments import Deployment, settings_of

NOT_KEYS = (
    "",
    "/",
    "/etc/passwd",
    "../secret",
    "videos/../../secret",
    "videos/./source",
    "videos//source",
    "videos/source/",
    "videos/.hidden",
    "videos\\source",
    "videos/so urce",
    "videos/source\n",
    "videos/\x00",
    "videos/ü",
)


@dataclass
class Sandbox:
    store: ObjectStore
    folder: Path

    def put(self, key: str, data: bytes) -> None:
        source = self.folder / "upload"
        source.write_bytes(data)
        self.store.put_file(key, source)

    def get(self, key: str) -> bytes:
        target = self.folder / "download"
        self.store.get_file(key, target)
        return target.read_bytes()


@pytest.fixture
def sandbox(deployment: Deployment, tmp_path: Path) -> Sandbox:
    folder = tmp_path / "files"
    folder.mkdir()
    return Sandbox(deployment.store, folder)


def test_the_settings_choose(deployment: Deployment) -> None:
    expected = {"embedded": LocalObjectStore, "deployed": S3ObjectStore}[deployment.settings.mode]
    assert type(deployment.store) is expected
    deployment.store.check()


class TestPutAndGet:
    @pytest.mark.parametrize("byte_count", [0, 1, 100_000])
    def test_the_same_bytes_come_back(self, sandbox: Sandbox, byte_count: int) -> None:
        data = bytes(index % 251 for index in range(byte_count))
        sandbox.put("videos/1/source", data)
        assert sandbox.get("videos/1/source") == data
        info = sandbox.store.stat("videos/1/source")
        assert info is not None
        assert (info.byte_count, info.content_type) == (byte_count, "application/octet-stream")

    def test_a_large_file_goes_up_in_parts(self, sandbox: Sandbox) -> None:
        block = hashlib.sha256(b"seed").digest() * 2**15
        data = block * (MULTIPART_PART_BYTES // len(block)) + b"the last part is short"
        sandbox.put("videos/1/source", data)
        assert sandbox.get("videos/1/source") == data

    def test_replaces_and_says_so(self, sandbox: Sandbox) -> None:
        sandbox.put("jobs/1/work/plan.npz", b"one")
        first = sandbox.store.stat("jobs/1/work/plan.npz")
        sandbox.put("jobs/1/work/plan.npz", b"two")
        second = sandbox.store.stat("jobs/1/work/plan.npz")
        assert first is not None
        assert second is not None
        assert first.etag != second.etag
        assert '"' not in second.etag
        assert sandbox.get("jobs/1/work/plan.npz") == b"two"

    @pytest.mark.parametrize(
        ("name", "content_type"),
        [
            ("manifest.json", "application/json"),
            ("base.mp4", "video/mp4"),
            ("base.m3u8", "application/vnd.apple.mpegurl"),
            ("segments.bin", "application/octet-stream"),
            ("networks/0.onnx", "application/octet-stream"),
        ],
    )
    def test_the_suffix_tells_the_content_type(self, sandbox: Sandbox, name: str, content_type: str) -> None:
        sandbox.put(f"bundles/1/1/{name}", b"x")
        info = sandbox.store.stat(f"bundles/1/1/{name}")
        assert info is not None
        assert info.content_type == content_type

    def test_what_a_caller_does_to_its_copy_stays_there(self, sandbox: Sandbox) -> None:
        sandbox.put("videos/1/source", b"original")
        with (sandbox.folder / "upload").open("r+b") as upload:
            upload.write(b"OVERWRIT")
        sandbox.get("videos/1/source")
        with (sandbox.folder / "download").open("r+b") as download:
            download.write(b"OVERWRIT")
        assert sandbox.get("videos/1/source") == b"original"

    def test_a_missing_object_leaves_nothing_behind(self, sandbox: Sandbox) -> None:
        with pytest.raises(ObjectNotFoundError):
            sandbox.get("videos/1/source")
        assert list(sandbox.folder.iterdir()) == []
        assert sandbox.store.stat("videos/1/source") is None

    def test_a_missing_object_keeps_what_was_there(self, sandbox: Sandbox) -> None:
        (sandbox.folder / "download").write_bytes(b"older")
        with pytest.raises(ObjectNotFoundError):
            sandbox.get("videos/1/source")
        assert (sandbox.folder / "download").read_bytes() == b"older"

    def test_below_an_object_there_is_nothing(self, sandbox: Sandbox) -> None:
        sandbox.put("videos/1", b"x")
        assert sandbox.store.stat("videos/1/source") is None
        with pytest.raises(ObjectNotFoundError):
            sandbox.get("videos/1/source")


class TestReading:
    def test_all_of_an_object(self, sandbox: Sandbox) -> None:
        sandbox.put("bundles/1/1/manifest.json", b"{}")
        assert sandbox.store.read("bundles/1/1/manifest.json") == b"{}"

    def test_a_folder_has_the_file_itself(self, embedded_deployment: Deployment, tmp_path: Path) -> None:
        sandbox = Sandbox(embedded_deployment.store, tmp_path)
        sandbox.put("bundles/1/1/base.mp4", b"frames")
        path = sandbox.store.local_path("bundles/1/1/base.mp4")
        assert path is not None
        assert path.read_bytes() == b"frames"
        for missing in ("bundles/1/1/other.mp4", "bundles/1/1", "bundles/1/1/base.mp4/x"):
            with pytest.raises(ObjectNotFoundError):
                sandbox.store.local_path(missing)

    def test_a_bucket_has_none(self, deployed_deployment: Deployment) -> None:
        assert deployed_deployment.store.local_path("bundles/1/1/base.mp4") is None

    def test_a_missing_object(self, sandbox: Sandbox) -> None:
        with pytest.raises(ObjectNotFoundError):
            sandbox.store.read("bundles/1/1/base.mp4")


class TestPrefixes:
    def test_a_neighbour_is_left_alone(self, sandbox: Sandbox) -> None:
        for key in ("jobs/12/work/a", "jobs/12/work/b/c", "jobs/123/work/a", "jobs/1/work/a", "bundles/12/1/a"):
            sandbox.put(key, b"x")
        assert sandbox.store.list_prefix("jobs/12/") == ["jobs/12/work/a", "jobs/12/work/b/c"]
        sandbox.store.delete_prefix("jobs/12/")
        assert sandbox.store.list_prefix("jobs/12/") == []
        assert sandbox.store.list_prefix("jobs/") == ["jobs/1/work/a", "jobs/123/work/a"]
        assert sandbox.store.list_prefix("bundles/") == ["bundles/12/1/a"]

    def test_nothing_there_is_no_error(self, sandbox: Sandbox) -> None:
        assert sandbox.store.list_prefix("jobs/1/") == []
        sandbox.store.delete_prefix("jobs/1/")

    @pytest.mark.parametrize("prefix", ["", "/", "jobs/12", "jobs/../", "../", "jobs//"])
    def test_a_prefix_is_a_folder(self, sandbox: Sandbox, prefix: str) -> None:
        sandbox.put("jobs/12/work/a", b"x")
        for use in (sandbox.store.list_prefix, sandbox.store.delete_prefix):
            with pytest.raises(InvalidObjectKeyError):
                use(prefix)
        assert sandbox.get("jobs/12/work/a") == b"x"


def test_nothing_but_plain_keys(sandbox: Sandbox) -> None:
    (sandbox.folder / "upload").write_bytes(b"x")
    for key in NOT_KEYS:
        for use in (
            lambda key: sandbox.store.put_file(key, sandbox.folder / "upload"),
            lambda key: sandbox.store.get_file(key, sandbox.folder / "download"),
            sandbox.store.stat,
            sandbox.store.read,
            sandbox.store.local_path,
            lambda key: sandbox.store.presigned_url(key, expires_seconds=60),
        ):
            with pytest.raises(InvalidObjectKeyError):
                use(key)


class TestPresignedUrl:
    def test_a_folder_has_none(self, embedded_deployment: Deployment) -> None:
        assert embedded_deployment.store.presigned_url("bundles/1/1/manifest.json", expires_seconds=60) is None

    def test_anyone_can_read_it_with_ranges(self, deployed_deployment: Deployment, tmp_path: Path) -> None:
        sandbox = Sandbox(deployed_deployment.store, tmp_path)
        sandbox.put("bundles/1/1/manifest.json", b'{"format": "stdo-bundle"}')
        url = sandbox.store.presigned_url("bundles/1/1/manifest.json", expires_seconds=60)
        assert url is not None
        answer = httpx.get(url)
        assert (answer.status_code, answer.json()) == (200, {"format": "stdo-bundle"})
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
        part = httpx.get(url, headers={"Range": "bytes=2-7"})
        assert (part.status_code, part.content) == (206, b"format")
        assert httpx.get(url.replace("manifest.json", "other.json")).status_code == 403
        assert httpx.get(url.split("?")[0]).status_code == 403

    def test_names_the_host_that_clients_see(self, deployed_deployment: Deployment) -> None:
        environment = {**deployed_deployment.environment, "STDO_S3_PUBLIC_ENDPOINT_URL": "https://store.example.com"}
        store = make_object_store(settings_of(environment))
        url = store.presigned_url("bundles/1/1/manifest.json", expires_seconds=60)
        assert url is not None
        bucket = deployed_deployment.settings.s3_bucket
        assert url.startswith(f"https://store.example.com/{bucket}/bundles/1/1/manifest.json?")


class TestUnavailable:
    def test_a_server_that_is_not_there(self, deployed_deployment: Deployment, tmp_path: Path) -> None:
        environment = {**deployed_deployment.environment, "STDO_S3_ENDPOINT_URL": "http://127.0.0.1:9"}
        store = make_object_store(settings_of(environment))
        with pytest.raises(ObjectStoreUnavailableError, match="could not be used"):
            store.check()
        (tmp_path / "file").write_bytes(b"x")
        with pytest.raises(ObjectStoreUnavailableError):
            store.put_file("videos/1/source", tmp_path / "file")

    @pytest.mark.parametrize(
        ("variable", "value"), [("STDO_S3_SECRET_ACCESS_KEY", "wrong"), ("STDO_S3_BUCKET", "no-such-bucket")]
    )
    def test_credentials_or_bucket_that_are_wrong(
        self, deployed_deployment: Deployment, tmp_path: Path, variable: str, value: str
    ) -> None:
        store = make_object_store(settings_of({**deployed_deployment.environment, variable: value}))
        (tmp_path / "file").write_bytes(b"x")
        for use in (store.check, lambda: store.put_file("videos/1/source", tmp_path / "file")):
            with pytest.raises(ObjectStoreUnavailableError):
                use()

    def test_a_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        store = LocalObjectStore(tmp_path / "gone")
        (tmp_path / "gone" / "files").rmdir()
        with pytest.raises(ObjectStoreUnavailableError):
            store.check()


class TestAfterAPowerCut:
    def test_what_was_half_received_goes_and_what_is_being_received_stays(self, tmp_path: Path) -> None:
        store = LocalObjectStore(tmp_path / "objects")
        incoming = tmp_path / "objects" / "incoming"
        for name, age_seconds in (("partial-old", ABANDONED_AFTER_SECONDS + 60), ("partial-fresh", 60)):
            (incoming / name).write_bytes(b"x")
            moment = time.time() - age_seconds
            os.utime(incoming / name, (moment, moment))
        (tmp_path / "file").write_bytes(b"x")

        store.put_file("videos/1/source", tmp_path / "file")

        assert [path.name for path in incoming.iterdir()] == ["partial-fresh"]
        assert store.list_prefix("videos/1/") == ["videos/1/source"]
