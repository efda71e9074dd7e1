from __future__ import annotations

import os
import socket
import time
import tracemalloc
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse

from stdo.service import api_calls as calls
from stdo.service.api_errors import (
    ApiError,
    NothingAnswersError,
    UnreadableFileError,
)
from tests.stdo.service.both_clients import OpenClient
from tests.stdo.service.scripted_service import (
    ScriptedService,
    as_json,
    problem,
)

_BUNDLE = "/v1/jobs/j1/bundle"


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
