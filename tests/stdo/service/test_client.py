from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import os
import resource
import signal
import socket
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from threading import Timer
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from stdo.bundle.bundle import open_bundle
from stdo.service import api_calls as calls
from stdo.service.api_errors import (
    ApiError,
    BundleFolderError,
    DownloadMismatchError,
    EventStreamUnavailableError,
    InvalidServiceUrlError,
    NoBundleError,
    NothingAnswersError,
    ServiceUnreachableError,
    UnexpectedAnswerError,
    UnreadableFileError,
    WaitTimeoutError,
)
from stdo.service.async_client import AsyncClient
from stdo.service.client import Client
from stdo.service.download import Fetch, FetchInterruptedError
from stdo.service.resources import Job, Page
from tests.stdo.bundles import write_small_bundle
from tests.stdo.service.both_clients import OpenClient, blocking, on_asyncio
from tests.stdo.service.scripted_service import (
    FileAnswer,
    ScriptedService,
    as_json,
    file_response,
    make_event,
    make_job,
    problem,
    serving,
)

_BUNDLE = "/v1/jobs/j1/bundle"


@pytest.fixture(params=[blocking, on_asyncio], ids=["blocking", "asyncio"])
def open_client(request: pytest.FixtureRequest) -> OpenClient:
    opener: OpenClient = request.param
    return opener


@pytest.fixture
def client(service: ScriptedService, open_client: OpenClient) -> Iterator[Any]:
    with open_client(service.url, patience_seconds=5.0) as opened:
        yield opened


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "a clip.mp4"
    path.write_bytes(bytes(range(256)) * 1000)
    return path


@pytest.fixture(scope="module")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_bundle(tmp_path_factory.mktemp("bundle"))


def test_both_clients_have_the_same_methods_and_arguments() -> None:
    methods = {name for name in vars(Client) if not name.startswith("_")}
    assert methods == {name for name in vars(AsyncClient) if not name.startswith("_")}
    for name in methods:
        parameters = inspect.signature(getattr(Client, name)).parameters
        assert parameters == inspect.signature(getattr(AsyncClient, name)).parameters, name


def test_an_upload_sends_the_file_and_counts_its_bytes(client: Any, service: ScriptedService, clip: Path) -> None:
    counted: list[tuple[int, int]] = []
    video = client.upload(clip, on_progress=lambda done, total: counted.append((done, total)))
    assert video.id == "v1"
    assert [(part.name, part.file_name, part.data) for part in service.parts] == [
        ("file", "a clip.mp4", clip.read_bytes())
    ]
    assert counted[-1] == (256_000, 256_000)
    assert [done for done, _ in counted] == sorted(done for done, _ in counted)
    assert len(counted) > 3


def test_an_encode_sends_preset_and_settings_before_the_file(client: Any, service: ScriptedService, clip: Path) -> None:
    job = client.encode(clip, preset="fast", settings={"training": {"steps": 7}})
    assert (job.id, job.state) == ("j1", "queued")
    assert [part.name for part in service.parts] == ["settings", "preset", "file"]
    assert as_json(service.parts[0].data) == {"training": {"steps": 7}}
    assert service.parts[1].data == b"fast"


def test_an_upload_takes_little_memory(client: Any, service: ScriptedService, tmp_path: Path) -> None:
    service.keep_upload = False
    large = tmp_path / "large.mp4"
    with large.open("wb") as file:
        file.truncate(64 << 20)
    tracemalloc.start()
    client.upload(large)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert service.uploaded_bytes > large.stat().st_size
    assert peak_bytes < 12 << 20


def test_a_file_that_is_not_there_is_named(client: Any, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match=r"absent\.mp4 can't be read: No such file"):
        client.upload(tmp_path / "absent.mp4")
    with pytest.raises(UnreadableFileError, match="Is a directory"):
        client.upload(tmp_path)


def test_an_uploaded_video_is_encoded_by_its_id(client: Any, service: ScriptedService) -> None:
    job = client.create_job("v1", preset="paper", settings={"scale": 4})
    assert (job.preset, job.settings) == ("paper", {"scale": 4})
    assert service.received[-1].path == "/v1/videos/v1/jobs"


def test_a_refusal_tells_which_field_is_wrong(client: Any) -> None:
    with pytest.raises(ApiError) as caught:
        client.create_job("v1", settings={"scale": 5})
    error = caught.value
    assert (error.status, error.type, error.title) == (422, "/problems/invalid-request", "The request is not valid")
    assert error.detail == "settings.scale: wrong"
    assert [(one.field, one.message) for one in error.errors] == [("settings.scale", "Input should be 2, 3 or 4")]
    assert "settings.scale: Input should be 2, 3 or 4" in str(error)


def test_jobs_come_page_by_page_and_filtered(client: Any, service: ScriptedService) -> None:
    names = ["a", "b", "c", "d", "e"]
    jobs = [make_job("failed", id=name) for name in names]
    service.pages = [
        Page[Job](items=tuple(jobs[:2]), next_cursor="1"),
        Page[Job](items=tuple(jobs[2:4]), next_cursor="2"),
        Page[Job](items=tuple(jobs[4:]), next_cursor=None),
    ]
    assert [job.id for job in client.jobs(state="failed", video_id="v1")] == names
    queries = [one.query for one in service.received]
    assert [query.get("cursor") for query in queries] == [None, "1", "2"]
    assert all(query["state"] == "failed" and query["video_id"] == "v1" for query in queries)


def test_small_calls_reach_their_paths(client: Any, service: ScriptedService) -> None:
    service.job_answers = [make_job("queued")]
    assert client.job("j1").state == "queued"
    assert client.cancel("j1").state == "cancelled"
    assert client.video("v1").file_name == "clip.mp4"
    assert [video.id for video in client.videos(state="ready")] == ["v1"]
    assert [preset.name for preset in client.presets()] == ["fast"]
    client.delete("j1")
    client.delete_video("v1")
    assert [(one.method, one.path) for one in service.received] == [
        ("GET", "/v1/jobs/j1"),
        ("POST", "/v1/jobs/j1/cancel"),
        ("GET", "/v1/videos/v1"),
        ("GET", "/v1/videos"),
        ("GET", "/v1/presets"),
        ("DELETE", "/v1/jobs/j1"),
        ("DELETE", "/v1/videos/v1"),
    ]


def test_waiting_asks_only_for_what_changed(client: Any, service: ScriptedService) -> None:
    training = make_job("training", progress=0.5)
    service.job_answers = [make_job("queued"), training, training, make_job("succeeded", progress=1.0)]
    assert client.wait("j1").state == "succeeded"
    tags = [one.headers.get("if-none-match") for one in service.received]
    assert tags == [None, '"0.0-queued"', '"0.5-training"', '"0.5-training"']


def test_waiting_ends_after_the_time_given(client: Any, service: ScriptedService) -> None:
    service.job_answers = [make_job("training")]
    with pytest.raises(WaitTimeoutError, match=r"still training after 0\.2 seconds"):
        client.wait("j1", timeout_seconds=0.2)


def test_waiting_outlives_a_restart_of_the_service(client: Any, service: ScriptedService) -> None:
    service.job_answers = [make_job("training"), problem(503, "not-ready", "Away", ""), make_job("succeeded")]
    assert client.wait("j1").state == "succeeded"


def test_patience_has_an_end(open_client: OpenClient, service: ScriptedService) -> None:
    service.job_answers = [problem(503, "not-ready", "Away", "")]
    with open_client(service.url, patience_seconds=0.3) as client, pytest.raises(ApiError) as caught:
        client.wait("j1")
    assert caught.value.status == 503
    assert len(service.received) > 1


def test_waiting_for_a_job_that_is_not_there_ends_at_once(client: Any, service: ScriptedService) -> None:
    service.job_answers = [problem(404, "job-not-found", "No such job", "There is no job j1.")]
    with pytest.raises(ApiError, match=r"No such job: There is no job j1\."):
        client.wait("j1")
    assert len(service.received) == 1


def test_events_go_on_where_the_stream_broke(client: Any, service: ScriptedService) -> None:
    service.job_answers = [make_job("training")]
    service.event_answers = [
        [make_event(1, "queued"), make_event(2, "training", 0.1)],
        [],
        # A server may repeat what it sent before the break.
        [make_event(2, "training", 0.1), make_event(3, "training", 0.7)],
        [make_event(4, "succeeded", 1.0)],
    ]
    assert [event.id for event in client.events("j1")] == [1, 2, 3, 4]
    streams = service.requests("GET", "/v1/jobs/j1/events")
    assert [one.headers["last-event-id"] for one in streams] == ["0", "2", "2", "3"]


def test_events_of_a_job_that_has_ended_end(client: Any, service: ScriptedService) -> None:
    service.event_answers = [Response(status_code=204)]
    assert client.events("j1", last_event_id=9) == []
    service.job_answers = [make_job("succeeded")]
    service.event_answers = [Response(": nothing new\n\n", media_type="text/event-stream")]
    assert client.events("j1", last_event_id=9) == []
    service.event_answers = [PlainTextResponse("a page")]
    with pytest.raises(EventStreamUnavailableError, match="HTTP 200"):
        client.events("j1")


def test_progress_is_polled_where_there_is_no_stream(client: Any, service: ScriptedService) -> None:
    service.event_answers = [PlainTextResponse("no streams here", 406)]
    service.job_answers = [make_job("training", progress=0.2), make_job("succeeded", progress=1.0)]
    assert [report.progress for report in client.iterate_progress("j1")] == [0.2, 1.0]


def test_progress_comes_from_the_stream(client: Any, service: ScriptedService) -> None:
    service.event_answers = [[make_event(1, "training", 0.5), make_event(2, "failed", 0.5)]]
    assert [report.state for report in client.iterate_progress("j1")] == ["training", "failed"]
    assert not service.requests("GET", "/v1/jobs/j1")


def test_events_of_an_unknown_job(client: Any, service: ScriptedService) -> None:
    service.event_answers = [problem(404, "job-not-found", "No such job", "There is no job j1.")]
    with pytest.raises(ApiError, match="No such job"):
        client.iterate_progress("j1")


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


@pytest.mark.parametrize("lost", [None, 502, 503, 504, 409])
def test_a_lost_answer_makes_no_second_job(client: Any, service: ScriptedService, clip: Path, lost: int | None) -> None:
    answers = {None: None, 409: problem(409, "request-answered-meanwhile", "Answered meanwhile", "Send it again.")}
    counted: list[tuple[int, int]] = []
    service.lost_answers = [answers[lost] if lost in answers else PlainTextResponse("gone", lost)]
    job = client.encode(clip, on_progress=lambda *counts: counted.append(counts))
    assert (job.id, len(service.done_by_key)) == ("j1", 1)
    keys = {one.headers["idempotency-key"] for one in service.requests("POST", "/v1/jobs")}
    assert len(service.requests("POST", "/v1/jobs")) == 2
    assert len(keys) == 1
    assert service.parts[-1].data == clip.read_bytes()
    assert counted[-1] == (256_000, 256_000)
    assert max(done for done, _ in counted) == 256_000


def test_every_post_has_a_key_of_its_own(client: Any, service: ScriptedService, clip: Path) -> None:
    service.lost_answers = [None, None]
    made = [
        client.create_job("v1"),
        client.create_job("v1"),
        client.upload(clip),
        client.encode(clip),
        client.cancel("j"),
    ]
    assert [one.id for one in made] == ["j1", "j2", "v3", "j4", "j5"]
    keys = [one.headers["idempotency-key"] for one in service.received]
    assert keys[0] == keys[1] == keys[2]
    assert len(set(keys)) == 5


@pytest.mark.parametrize("status", [400, 401, 409, 413, 422, 429, 500])
def test_a_refused_upload_is_not_sent_again(client: Any, service: ScriptedService, clip: Path, status: int) -> None:
    service.lost_answers = [problem(status, "some-reason", "No", "Not so.")]
    with pytest.raises(ApiError, match="No: Not so"):
        client.encode(clip)
    assert len(service.received) == 1


def test_an_upload_to_where_nothing_answers_fails_at_once(open_client: OpenClient, clip: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    started = time.monotonic()
    with open_client(url, patience_seconds=60) as client, pytest.raises(NothingAnswersError, match="Is the service"):
        client.encode(clip)
    assert time.monotonic() - started < 30


def test_an_upload_waits_for_its_answer_as_long_as_a_slow_store_takes(clip: Path) -> None:
    with httpx.Client(timeout=5.0) as http, clip.open("r+b") as file:
        small = calls.encode("clip.mp4", file, None, {}).request(http)
        file.truncate(20_000_000_000)
        large = calls.encode("clip.mp4", file, None, {}).request(http)
        usual = calls.create_job("v1", None, {}).request(http)
    assert [one.extensions["timeout"]["read"] // 1 for one in (small, large, usual)] == [600, 20_600, 5]
    assert large.extensions["timeout"]["write"] == 5


def test_a_pipe_can_not_be_uploaded(client: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = os.open(tmp_path / "pipe", os.O_RDWR)
    try:
        with pytest.raises(UnreadableFileError, match="Store the video in a file first"):
            client.upload(tmp_path / "pipe")
    finally:
        os.close(writer)


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


def test_a_redirected_call_says_where_to(open_client: OpenClient) -> None:
    async def elsewhere(_: Request) -> Response:
        return RedirectResponse("https://elsewhere.example/v1/jobs/j1", status_code=301)

    with (
        serving(Starlette(routes=[Route("/{path:path}", elsewhere)])) as url,
        open_client(url) as client,
        pytest.raises(UnexpectedAnswerError, match=r"redirects to https://elsewhere\.example"),
    ):
        client.job("j1")


def test_answers_of_something_else(open_client: OpenClient) -> None:
    async def page(request: Request) -> Response:
        return Response("<html>Too large</html>", 413 if request.method == "POST" else 200)

    with serving(Starlette(routes=[Route("/{path:path}", page, methods=["GET", "POST"])])) as url:
        with open_client(url) as client, pytest.raises(UnexpectedAnswerError, match="no stdo service"):
            client.job("j1")
        with open_client(url) as client, pytest.raises(ApiError) as caught:
            client.cancel("j1")
    assert (caught.value.status, caught.value.title) == (413, "HTTP 413 Request Entity Too Large")
    assert caught.value.detail == "<html>Too large</html>"


def test_nothing_answers(open_client: OpenClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with open_client(f"http://127.0.0.1:{port}") as client, pytest.raises(ServiceUnreachableError) as caught:
        client.job("j1")
    assert str(caught.value).startswith(f"Nothing answers at http://127.0.0.1:{port} (")
    assert "Is the service running" in str(caught.value)


def test_an_answer_that_does_not_come(open_client: OpenClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with open_client(url, timeout_seconds=0.1) as client, pytest.raises(ServiceUnreachableError, match="in time"):
            client.job("j1")


def test_a_service_below_a_path(open_client: OpenClient) -> None:
    async def answer(request: Request) -> Response:
        return Response(make_job("queued", id=request.url.path).model_dump_json())

    with serving(Starlette(routes=[Route("/{path:path}", answer)])) as url, open_client(f"{url}/below/") as client:
        assert client.job("j 1/..").id == "/below/v1/jobs/j 1/.."


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://host", "http://", "http://host:port", "http://\x00"])
def test_addresses_that_are_none(open_client: OpenClient, url: str) -> None:
    with pytest.raises(InvalidServiceUrlError, match="address"), open_client(url):
        pass


@pytest.mark.parametrize("key", ["", "two words", "schlüssel", "line\n"])
def test_keys_that_are_none(open_client: OpenClient, key: str) -> None:
    with pytest.raises(InvalidServiceUrlError, match="API key"), open_client("http://127.0.0.1", api_key=key):
        pass


def test_identifiers_that_would_change_the_path(client: Any, service: ScriptedService) -> None:
    for identifier in ("", ".", ".."):
        with pytest.raises(InvalidServiceUrlError):
            client.delete(identifier)
    assert not service.received


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _decoder_files(folder: Path) -> dict[str, bytes]:
    return {path: data for path, data in _files(folder).items() if not path.startswith("quality/")}
