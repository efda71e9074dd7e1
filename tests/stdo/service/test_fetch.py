from __future__ import annotations

import asyncio
import hashlib
import json
import os
import resource
import signal
import time
import tracemalloc
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stdo.bundle.bundle import open_bundle
from stdo.service.api_errors import (
    BundleFolderError,
    DownloadMismatchError,
    NoBundleError,
    ServiceUnreachableError,
)
from stdo.service.async_client import AsyncClient
from stdo.service.client import Client
from stdo.service.download import Fetch, FetchInterruptedError
from tests.stdo.bundles import write_small_bundle
from tests.stdo.service.both_clients import OpenClient
from tests.stdo.service.file_answers import FileAnswer, file_response
from tests.stdo.service.scripted_service import ScriptedService, make_job, serving

_BUNDLE = "/v1/jobs/j1/bundle"


def test_a_bundle_is_fetched_whole(client: Any, service: ScriptedService, bundle_folder: Path, tmp_path: Path) -> None:
    service.job_answers, service.bundle_folder = [make_job("succeeded")], bundle_folder
    counted: list[tuple[int, int]] = []
    folder = client.fetch("j1", tmp_path / "new" / "bundle", on_progress=lambda *counts: counted.append(counts))
    with open_bundle(folder) as bundle:
        assert [check.problem for check in bundle.verify() if check.problem] == []
        total = sum(entry.byte_count for entry in bundle.manifest.delivered_files())
    assert counted[-1] == (total, total)
    assert _decoder_files(folder) == _decoder_files(bundle_folder) == _files(folder)


def test_a_fetch_goes_on_with_what_is_there(
    client: Any, service: ScriptedService, bundle_folder: Path, tmp_path: Path
) -> None:
    service.job_answers, service.bundle_folder = [make_job("succeeded")], bundle_folder
    client.fetch("j1", tmp_path)
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "networks" / "0.onnx").write_bytes(b"damaged")
    (tmp_path / "networks" / "1.onnx").unlink()
    service.received.clear()
    client.fetch("j1", tmp_path)
    asked = {one.path.partition("/bundle/")[2] for one in service.received if "/bundle/" in one.path}
    assert asked == {"manifest.json", "networks/0.onnx", "networks/1.onnx"}
    assert _decoder_files(tmp_path) == _decoder_files(bundle_folder)


def test_a_download_that_breaks_off_goes_on_where_it_broke(
    client: Any, service: ScriptedService, bundle_folder: Path, tmp_path: Path
) -> None:
    service.job_answers, service.bundle_folder = [make_job("succeeded")], bundle_folder
    service.file_answers = {"base.mp4": [FileAnswer(cut_after=500), FileAnswer(cut_after=300)]}
    counted: list[tuple[int, int]] = []
    client.fetch("j1", tmp_path, on_progress=lambda *counts: counted.append(counts))
    asked = [one.headers for one in service.requests("GET", f"{_BUNDLE}/base.mp4")]
    assert [(one.get("range"), one.get("if-range")) for one in asked] == [
        (None, None),
        ("bytes=500-", '"first"'),
        ("bytes=800-", '"first"'),
    ]
    assert [done for done, _ in counted] == sorted(done for done, _ in counted)
    assert counted[-1][0] == counted[-1][1]
    assert _decoder_files(tmp_path) == _decoder_files(bundle_folder)


@pytest.mark.parametrize(
    ("answers", "ranges"),
    [
        ([FileAnswer(cut_after=500), FileAnswer(ignores_range=True)], [None, "bytes=500-"]),
        ([FileAnswer(cut_after=500, etag='W/"weak"'), FileAnswer()], [None, None]),
        ([FileAnswer(cut_after=500), FileAnswer(etag='"second"')], [None, "bytes=500-"]),
        (
            [FileAnswer(cut_after=500), FileAnswer(etag='"second"', ignores_if_range=True), FileAnswer()],
            [None, "bytes=500-", None],
        ),
        ([FileAnswer(cut_after=500), FileAnswer(status=416), FileAnswer()], [None, "bytes=500-", None]),
        (
            [FileAnswer(status=503), FileAnswer(cut_after=500), FileAnswer(status=502)],
            [None, None, "bytes=500-", "bytes=500-"],
        ),
    ],
    ids=["range ignored", "weak", "changed", "changed and if-range ignored", "range refused", "away"],
)
def test_a_download_begins_anew_where_its_rest_can_not_be_had(
    client: Any, service: ScriptedService, bundle_folder: Path, tmp_path: Path,
    answers: list[FileAnswer], ranges: list[str | None],
) -> None:  # fmt: skip
    service.job_answers, service.bundle_folder = [make_job("succeeded")], bundle_folder
    service.file_answers = {"base.mp4": list(answers)}
    counted: list[tuple[int, int]] = []
    client.fetch("j1", tmp_path, on_progress=lambda *counts: counted.append(counts))
    asked = [one.headers.get("range") for one in service.requests("GET", f"{_BUNDLE}/base.mp4")]
    assert asked == ranges
    assert counted[-1][0] == counted[-1][1]
    assert _decoder_files(tmp_path) == _decoder_files(bundle_folder)


def test_patience_with_a_download_begins_anew_with_every_byte(
    open_client: OpenClient, service: ScriptedService, bundle_folder: Path, tmp_path: Path
) -> None:
    service.job_answers, service.bundle_folder = [make_job("succeeded")], bundle_folder
    service.file_answers = {"base.mp4": [FileAnswer(cut_after=50) for _ in range(4)]}
    with open_client(service.url, patience_seconds=0.6) as client:
        client.fetch("j1", tmp_path)  # Each pause takes half a second.
    assert len(service.requests("GET", f"{_BUNDLE}/base.mp4")) == 5
    assert _decoder_files(tmp_path) == _decoder_files(bundle_folder)


def test_patience_with_a_download_that_gets_no_further_has_an_end(
    open_client: OpenClient, service: ScriptedService, bundle_folder: Path, tmp_path: Path
) -> None:
    service.job_answers, service.bundle_folder = [make_job("succeeded")], bundle_folder
    service.file_answers = {"base.mp4": [FileAnswer(cut_after=50, ignores_range=True) for _ in range(50)]}
    with open_client(service.url, patience_seconds=0.7) as client, pytest.raises(ServiceUnreachableError):
        client.fetch("j1", tmp_path)
    assert not list(tmp_path.rglob("*.part"))
    assert not (tmp_path / "manifest.json").exists()


def test_a_large_file_takes_little_memory(client: Any, service: ScriptedService, tmp_path: Path) -> None:
    source = tmp_path / "source"
    write_small_bundle(source)
    manifest = json.loads((source / "manifest.json").read_text())
    large = source / "quality" / "large.bin"
    large.write_bytes(bytes(64 << 20))
    entry = {
        "path": "quality/large.bin",
        "byte_count": 64 << 20,
        "sha256": hashlib.sha256(large.read_bytes()).hexdigest(),
    }
    manifest["quality"]["files"].append(entry)
    (source / "manifest.json").write_text(json.dumps(manifest))
    service.job_answers, service.bundle_folder = [make_job("succeeded")], source
    tracemalloc.start()
    client.fetch("j1", tmp_path / "target", reports=True)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "target" / "quality" / "large.bin").stat().st_size == 64 << 20
    assert peak_bytes < 16 << 20


def test_reports_are_fetched_where_they_are_asked_for(
    client: Any, service: ScriptedService, bundle_folder: Path, tmp_path: Path
) -> None:
    service.job_answers, service.bundle_folder = [make_job("succeeded")], bundle_folder
    client.fetch("j1", tmp_path)
    assert not (tmp_path / "quality").exists()
    client.fetch("j1", tmp_path, reports=True)
    assert _files(tmp_path) == _files(bundle_folder)
    assert len(service.requests("GET", f"{_BUNDLE}/base.mp4")) == 1


def test_an_interrupted_fetch_ends_at_once(service: ScriptedService, bundle_folder: Path, tmp_path: Path) -> None:
    service.job_answers, service.bundle_folder = [make_job("succeeded")], bundle_folder
    service.file_answers = {"base.mp4": [FileAnswer(cut_after=500, silent_seconds=3)]}
    with Client(service.url) as client:
        interrupt = Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
        started = time.monotonic()
        interrupt.start()
        with pytest.raises(KeyboardInterrupt):
            client.fetch("j1", tmp_path)
        assert time.monotonic() - started < 2.5
    assert not (tmp_path / "base.mp4").exists()
    assert not (tmp_path / "manifest.json").exists()
    assert not list(tmp_path.rglob("*.part"))


def test_a_cancelled_fetch_ends_at_once(service: ScriptedService, bundle_folder: Path, tmp_path: Path) -> None:
    service.job_answers, service.bundle_folder = [make_job("succeeded")], bundle_folder
    service.file_answers = {"base.mp4": [FileAnswer(cut_after=500, silent_seconds=3)]}

    async def fetch_for_a_second() -> None:
        async with AsyncClient(service.url) as client:
            await asyncio.wait_for(client.fetch("j1", tmp_path), 1.0)

    started = time.monotonic()
    with pytest.raises(TimeoutError):
        asyncio.run(fetch_for_a_second())
    assert time.monotonic() - started < 2.5
    assert not (tmp_path / "base.mp4").exists()
    assert not (tmp_path / "manifest.json").exists()
    assert not list(tmp_path.rglob("*.part"))


def test_a_fetch_that_is_given_up_does_not_wait_for_its_next_try(bundle_folder: Path, tmp_path: Path) -> None:
    fetch = Fetch((bundle_folder / "manifest.json").read_bytes(), tmp_path, None)
    fetch.pause(0)
    started = time.monotonic()
    Timer(0.1, fetch.stop).start()
    with pytest.raises(FetchInterruptedError):
        fetch.pause(60)
    assert time.monotonic() - started < 30


def test_a_file_that_is_not_as_promised_never_appears(client: Any, service: ScriptedService, tmp_path: Path) -> None:
    source = write_small_bundle(tmp_path / "source")
    network = source / "networks" / "1.onnx"
    network.write_bytes(network.read_bytes()[:-1] + b"!")
    service.job_answers, service.bundle_folder = [make_job("succeeded")], source
    target = tmp_path / "target"
    with pytest.raises(DownloadMismatchError, match=r"networks/1\.onnx differs"):
        client.fetch("j1", target)
    assert not (target / "networks" / "1.onnx").exists()
    assert not (target / "manifest.json").exists()
    assert not list(target.rglob("*.part"))


def test_a_folder_with_something_else_is_left_alone(
    client: Any, service: ScriptedService, bundle_folder: Path, tmp_path: Path
) -> None:
    service.job_answers, service.bundle_folder = [make_job("succeeded")], bundle_folder
    other = bundle_folder.joinpath("manifest.json").read_text().replace("test-bundle", "another")
    (tmp_path / "manifest.json").write_text(other)
    with pytest.raises(BundleFolderError, match="holds another bundle"):
        client.fetch("j1", tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(BundleFolderError, match="no manifest"):
        client.fetch("j1", tmp_path)
    with pytest.raises(BundleFolderError, match="Choose another folder"):
        client.fetch("j1", tmp_path / "manifest.json")


def test_a_full_disk_is_told(client: Any, service: ScriptedService, bundle_folder: Path, tmp_path: Path) -> None:
    service.job_answers, service.bundle_folder = [make_job("succeeded")], bundle_folder
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        # The largest file that may be written stands for the space that is left.
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
        with pytest.raises(BundleFolderError, match=r"can't be used: File too large\. Choose another folder"):
            client.fetch("j1", tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.rglob("*.part"))
    assert not (tmp_path / "manifest.json").exists()
    client.fetch("j1", tmp_path)
    assert _decoder_files(tmp_path) == _decoder_files(bundle_folder)


def test_there_is_no_bundle_of_a_job_without_one(client: Any, service: ScriptedService, tmp_path: Path) -> None:
    for state, reason in (("training", "Wait until"), ("failed", r"It broke: Mend it\."), ("cancelled", "cancelled")):
        service.job_answers = [make_job(state)]
        with pytest.raises(NoBundleError, match=reason):
            client.fetch("j1", tmp_path)


def test_the_key_goes_to_the_service_and_to_no_other_host(
    open_client: OpenClient, service: ScriptedService, bundle_folder: Path, tmp_path: Path
) -> None:
    store_requests: list[Request] = []

    async def stored_file(request: Request) -> Response:
        path = request.path_params["path"]
        breaks = path == "base.mp4" and all(one.path_params["path"] != path for one in store_requests)
        answer = FileAnswer(cut_after=400) if breaks else FileAnswer()
        store_requests.append(request)
        return file_response(request, (bundle_folder / path).read_bytes(), answer)

    service.job_answers, service.bundle_folder = [make_job("succeeded")], bundle_folder
    with serving(Starlette(routes=[Route("/{path:path}", stored_file)])) as store_url:
        service.file_redirect = store_url
        with open_client(service.url, api_key="secret") as client:
            folder = client.fetch("j1", tmp_path)
    assert _decoder_files(folder) == _decoder_files(bundle_folder)
    assert {one.headers.get("authorization") for one in service.received} == {"Bearer secret"}
    assert len(store_requests) == len(_files(folder))
    assert [request.headers["range"] for request in store_requests if "range" in request.headers] == ["bytes=400-"]
    assert all("authorization" not in request.headers for request in store_requests)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _decoder_files(folder: Path) -> dict[str, bytes]:
    return {path: data for path, data in _files(folder).items() if not path.startswith("quality/")}
