from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from app.http import body_limit
from app.uploads import receive as uploads
from core.database import Database
from core.jobs import job_states
from core.jobs.claims import Probed
from core.presets import find_preset
from core.storage.keys import source_key
from core.tables import JobRow, VideoRow, new_id
from core.task_queue import queue_depth
from stdo.bundle.manifest import Normalisation
from tests.app.live import LiveApi, assert_problem, live_api, wait_until
from tests.core.samples import MAX_ATTEMPTS, REFUSAL, SOURCE, after, claim, new_job, new_video, probed_video, succeed
from tests.deployments import Deployment

CRLF = b"\r\n"
BOUNDARY = b"frontier"
FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY.decode()}"
NONSENSE_IDS = ["x", "a%00b", "%F0%9F%8E%AC", "%FF%FE", "..%2f..%2fetc", "0" * 31, "G" * 32, "a" * 5000, "%0d%0aX:1"]

WRONG_QUERIES = [
    ("limit=0", "query.limit"),
    ("limit=101", "query.limit"),
    ("limit=many", "query.limit"),
    ("limit=99999999999999999999999", "query.limit"),
    ("state=lost", "query.state"),
    ("state=%00", "query.state"),
    ("colour=red", "query.colour"),
    ("cursor=x", "query.cursor"),
    ("cursor=%00", "query.cursor"),
    ("cursor=" + "W" * 300, "query.cursor"),
    # ["0001-01-01T00:00:00+23:59","a"]: a moment that is none in UTC.
    ("cursor=WyIwMDAxLTAxLTAxVDAwOjAwOjAwKzIzOjU5IiwiYSJd", "query.cursor"),
]
ODD_BODIES = [
    (b"", 422, "invalid-request"),
    (b"null", 422, "invalid-request"),
    (b"{", 400, "malformed-json"),
    (b"\xff\xfe", 400, "malformed-json"),
    (b"{\xff}", 400, "malformed-request"),
    (b'{"preset": "\\ud800"}', 422, "invalid-request"),
    (b'{"settings": {"\\ud800": 1}}', 422, "invalid-request"),
    (b'{"settings": {"training": {"learning_rate": NaN}}}', 422, "invalid-request"),
    (b'{"settings": {"seed": ' + b"9" * 5000 + b"}}", 400, "malformed-request"),
    (b'{"settings": {"seed": 1e999}}', 422, "invalid-request"),
    (b"[" * 100_000, 400, "malformed-request"),
    (b'{"settings": ' + b'{"training":' * 200 + b"1" + b"}" * 201, 422, "invalid-request"),
    (b" " * 1_100_000 + b"{}", 413, "content-too-large"),
]


def part(name: bytes, value: bytes, file_name: bytes | None = None) -> bytes:
    disposition = b'Content-Disposition: form-data; name="' + name + b'"'
    if file_name is not None:
        disposition += b'; filename="' + file_name + b'"'
    return b"--" + BOUNDARY + CRLF + disposition + CRLF + CRLF + value + CRLF


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--" + BOUNDARY + b"--" + CRLF


FILE = part(b"file", b"some bytes", b"a.mp4")


def post_form(api: LiveApi, body: bytes, path: str = "/v1/videos") -> httpx.Response:
    return api.client.post(path, content=body, headers={"Content-Type": FORM_TYPE})


def assert_answer(link: socket.socket, status: int, slug: str) -> None:
    """The next answer on the wire is this problem."""
    response = http.client.HTTPResponse(link)
    response.begin()
    assert (response.status, json.loads(response.read())["type"]) == (status, f"/problems/{slug}")


def assert_nothing_left(api: LiveApi) -> None:
    wait_until(lambda: not api.incoming())
    assert api.objects() == []
    assert api.count(VideoRow) == 0


class TestCreateVideo:
    def test_stores_the_bytes_and_queues_the_probe(self, api: LiveApi) -> None:
        data = bytes(range(256)) * 20_000
        response = api.client.post("/v1/videos", files={"file": ("holiday.mp4", data, "video/mp4")})
        assert response.status_code == 201
        video = response.json()
        assert response.headers["location"] == f"/v1/videos/{video['id']}"
        assert (video["state"], video["file_name"], video["byte_count"]) == ("uploaded", "holiday.mp4", len(data))
        assert video["sha256"] == hashlib.sha256(data).hexdigest()
        assert api.deployment.store.read(source_key(video["id"])) == data
        assert queue_depth(api.settings, "cpu") == 1
        assert api.incoming() == []
        assert api.client.get(response.headers["location"]).json() == video

    def test_a_broker_that_is_down_keeps_nobody_out(self, embedded_deployment: Deployment) -> None:
        nowhere = SecretStr("redis://:x@127.0.0.1:1/0")
        with live_api(embedded_deployment, settings={"redis_url": nowhere}) as live:
            video = live.upload()
            assert live.client.post(f"/v1/videos/{video['id']}/jobs", json={}).status_code == 202

    def test_a_body_of_unknown_length(self, embedded_api: LiveApi) -> None:
        def pieces() -> Iterator[bytes]:
            body = form(FILE)
            for start in range(0, len(body), 7):
                yield body[start : start + 7]

        response = embedded_api.client.post("/v1/videos", content=pieces(), headers={"Content-Type": FORM_TYPE})
        assert response.status_code == 201
        assert response.json()["sha256"] == hashlib.sha256(b"some bytes").hexdigest()

    @pytest.mark.parametrize(
        ("sent", "kept"),
        [
            (b"../../etc/passwd", "passwd"),
            (b"C:\\\\clips\\\\a.mp4", "a.mp4"),
            ("caf\u00e9 \U0001f3ac.mp4".encode(), "caf\u00e9 \U0001f3ac.mp4"),
            (b"a\x00\x1b\x7fb.mp4", "ab.mp4"),
            (b"\xff\xfe.mp4", "\u00ff\u00fe.mp4"),
            ("evil\u202e4pm.exe".encode(), "evil4pm.exe"),
            (b"n" * 2000, "n" * 255),
            (b"", "video"),
            (b"..", ".."),
        ],
    )
    def test_file_names_are_text_only(self, embedded_api: LiveApi, sent: bytes, kept: str) -> None:
        response = post_form(embedded_api, form(part(b"file", b"some bytes", sent)))
        assert response.status_code == 201
        assert response.json()["file_name"] == kept
        assert embedded_api.objects() == [source_key(response.json()["id"])]

    def test_a_file_name_that_no_database_would_take(self, api: LiveApi) -> None:
        response = post_form(api, form(part(b"file", b"some bytes", b"a\x00\xed\xa0\x80b.mp4")))
        assert response.status_code == 201
        assert "\x00" not in response.json()["file_name"]

    @pytest.mark.parametrize(
        ("body", "status", "slug", "field"),
        [
            (form(), 422, "invalid-request", "file"),
            (form(part(b"file", b"", b"a.mp4")), 422, "invalid-request", "file"),
            (form(FILE, FILE), 422, "invalid-request", "file"),
            (form(FILE, part(b"preset", b"fast")), 422, "invalid-request", "preset"),
            (form(part(b"f\x00ile", b"x")), 422, "invalid-request", "f\x00ile"),
            (form(FILE)[:-9], 400, "malformed-multipart", None),
            (FILE, 400, "malformed-multipart", None),
            (b"", 400, "malformed-multipart", None),
            (b"no form at all", 400, "malformed-multipart", None),
            (form(b"--" + BOUNDARY + CRLF + CRLF + b"x" + CRLF), 400, "malformed-multipart", None),
            (form(b"--" + BOUNDARY + CRLF + b"X: " + b"x" * 9000 + CRLF + CRLF), 400, "malformed-multipart", None),
        ],
    )
    def test_refused_forms_leave_nothing(
        self, embedded_api: LiveApi, body: bytes, status: int, slug: str, field: str | None
    ) -> None:
        assert_problem(post_form(embedded_api, body), status, slug, field)
        assert_nothing_left(embedded_api)

    @pytest.mark.parametrize(
        ("content_type", "status", "slug"),
        [
            ("application/json", 415, "unsupported-media-type"),
            ("application/x-www-form-urlencoded", 415, "unsupported-media-type"),
            ("multipart/form-data", 400, "malformed-multipart"),
            (f"multipart/form-data; boundary={'b' * 300}", 400, "malformed-multipart"),
        ],
    )
    def test_other_bodies(self, embedded_api: LiveApi, content_type: str, status: int, slug: str) -> None:
        response = embedded_api.client.post("/v1/videos", content=form(FILE), headers={"Content-Type": content_type})
        assert_problem(response, status, slug)

    def test_no_content_type(self, embedded_api: LiveApi) -> None:
        assert_problem(embedded_api.client.post("/v1/videos"), 415, "unsupported-media-type")


class TestUploadLimits:
    @pytest.fixture
    def small(self, embedded_deployment: Deployment) -> Iterator[LiveApi]:
        with live_api(embedded_deployment, settings={"max_upload_bytes": 100_000}) as live:
            yield live

    def test_the_limit_itself_is_allowed(self, small: LiveApi) -> None:
        assert small.upload(b"x" * 100_000)["byte_count"] == 100_000

    @pytest.mark.parametrize("byte_count", [100_001, 20_000_000])
    def test_too_large_with_its_length(self, small: LiveApi, byte_count: int) -> None:
        response = small.client.post("/v1/videos", files={"file": ("a.mp4", b"x" * byte_count)})
        problem = assert_problem(response, 413, "content-too-large")
        assert "100000" in problem["detail"] or "bytes" in problem["detail"]
        assert_nothing_left(small)

    def test_too_large_without_its_length(self, small: LiveApi) -> None:
        sent = 0

        def pieces() -> Iterator[bytes]:
            nonlocal sent
            yield part(b"file", b"", b"a.mp4")[: -len(CRLF)]
            for _ in range(200):
                sent += 1
                yield b"x" * 100_000

        response = small.client.post("/v1/videos", content=pieces(), headers={"Content-Type": FORM_TYPE})
        assert_problem(response, 413, "content-too-large")
        assert_nothing_left(small)

    def test_a_declared_length_is_refused_before_the_body_is_sent(self, small: LiveApi) -> None:
        with socket.create_connection(small.address, timeout=10) as link:
            head = f"POST /v1/videos HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM_TYPE}\r\n"
            link.sendall(f"{head}Content-Length: 999999999999\r\nExpect: 100-continue\r\n\r\n".encode())
            assert_answer(link, 413, "content-too-large")

    def test_many_parts(self, small: LiveApi) -> None:
        # Each name may come once, which bounds their number.
        response = post_form(small, form(*[part(b"preset", b"")] * 1000), "/v1/jobs")
        assert_problem(response, 422, "invalid-request", "preset")

    def test_a_large_field(self, small: LiveApi) -> None:
        response = post_form(small, form(part(b"settings", b" " * 70_000), FILE), "/v1/jobs")
        assert_problem(response, 413, "content-too-large")
        assert_nothing_left(small)


@contextmanager
def without_parts_table(database: Database) -> Iterator[None]:
    def rename(old: str, new: str) -> None:
        with database.engine.begin() as connection:
            connection.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))

    rename("parts", "parts_aside")
    try:
        yield
    finally:
        rename("parts_aside", "parts")


class TestInterruptedUploads:
    def head(self, declared: int) -> bytes:
        return (
            f"POST /v1/videos HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM_TYPE}\r\n"
            f"Content-Length: {declared}\r\n\r\n"
        ).encode()

    def test_a_sender_that_goes_away(self, embedded_api: LiveApi) -> None:
        with socket.create_connection(embedded_api.address) as link:
            link.sendall(self.head(10_000_000) + part(b"file", b"x" * 3_000_000, b"a.mp4"))
            wait_until(lambda: len(embedded_api.incoming()) == 1)
        assert_nothing_left(embedded_api)

    def test_a_length_that_is_too_short(self, embedded_api: LiveApi) -> None:
        body = form(FILE)
        with socket.create_connection(embedded_api.address, timeout=10) as link:
            link.sendall(self.head(len(body) - 20) + body)
            assert_answer(link, 400, "malformed-multipart")
        assert_nothing_left(embedded_api)

    def test_a_sender_that_falls_silent(self, embedded_api: LiveApi, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(uploads, "IDLE_SECONDS", 0.2)
        monkeypatch.setattr(body_limit, "LINGER_SECONDS", 0.2)
        with socket.create_connection(embedded_api.address, timeout=20) as link:
            link.sendall(self.head(10_000) + FILE)
            assert_answer(link, 408, "upload-stalled")
        assert_nothing_left(embedded_api)

    def test_a_row_that_can_not_be_written(self, api: LiveApi) -> None:
        with without_parts_table(api.deployment.database):
            response = api.client.post("/v1/videos", files={"file": ("a.mp4", b"some bytes")})
        assert response.status_code in (500, 503)
        assert response.headers["content-type"] == "application/problem+json"
        assert "parts" not in response.text
        assert_nothing_left(api)

    def test_what_a_killed_server_left_is_removed_at_the_start(self, embedded_deployment: Deployment) -> None:
        folder = uploads.uploads_dir(embedded_deployment.settings)
        folder.mkdir(parents=True)
        (folder / "old").write_bytes(b"x")
        (folder / "new").write_bytes(b"x")
        os.utime(folder / "old", (0, time.time() - 2 * uploads.STALE_SECONDS))
        with live_api(embedded_deployment) as live:
            assert [path.name for path in live.incoming()] == ["new"]


class TestGetVideo:
    def test_nonsense(self, api: LiveApi) -> None:
        for video_id in NONSENSE_IDS:
            response = api.client.get(f"/v1/videos/{video_id}")
            assert response.status_code == 404, video_id
            assert response.headers["content-type"] == "application/problem+json"

    def test_unknown(self, api: LiveApi) -> None:
        problem = assert_problem(api.client.get(f"/v1/videos/{new_id()}"), 404, "video-not-found")
        assert problem["instance"].startswith("/v1/videos/")

    def test_before_and_after_its_probe(self, api: LiveApi) -> None:
        video_id = new_video(api.deployment.database)
        before = api.client.get(f"/v1/videos/{video_id}")
        assert (before.json()["state"], before.json()["source"]) == ("uploaded", None)
        assert before.headers["retry-after"] == "1"
        assert before.headers["cache-control"] == "private, no-cache"
        same = api.client.get(f"/v1/videos/{video_id}", headers={"If-None-Match": before.headers["etag"]})
        assert (same.status_code, same.content) == (304, b"")
        assert same.headers["etag"] == before.headers["etag"]

        turned = Normalisation(code="rotation_applied", detail="The picture is turned by 90 degrees.")
        source = SOURCE.model_copy(update={"input_normalisations": (turned,)})
        succeed(api.deployment.database, claim(api.deployment.database, video_id, "probe"), Probed(source=source))
        later = api.client.get(f"/v1/videos/{video_id}", headers={"If-None-Match": before.headers["etag"]})
        assert later.status_code == 200
        assert later.json()["state"] == "ready"
        assert later.json()["source"]["frame_count"] == SOURCE.frame_count
        assert later.json()["input_normalisations"] == [turned.model_dump()]
        assert "retry-after" not in later.headers

    def test_refused(self, api: LiveApi) -> None:
        video_id = refused_video(api)
        video = api.client.get(f"/v1/videos/{video_id}").json()
        assert (video["state"], video["refusal"]) == ("refused", REFUSAL.model_dump())


def refused_video(api: LiveApi) -> str:
    database = api.deployment.database
    video_id = new_video(database)
    held = claim(database, video_id, "probe")
    with database.transaction() as session:
        job_states.fail(session, held, REFUSAL, now=after(1), infrastructure=False, max_attempts=MAX_ATTEMPTS)
    return video_id


class TestListVideos:
    def test_pages(self, api: LiveApi) -> None:
        made = [new_video(api.deployment.database, seconds=second) for second in range(5)]
        seen, cursor = [], None
        while True:
            query: dict[str, Any] = {"limit": 2} if cursor is None else {"limit": 2, "cursor": cursor}
            page = api.client.get("/v1/videos", params=query).json()
            assert len(page["items"]) <= 2
            seen += [video["id"] for video in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == made[::-1]

    def test_by_state(self, api: LiveApi) -> None:
        new_video(api.deployment.database)
        refused = refused_video(api)
        page = api.client.get("/v1/videos", params={"state": "refused"}).json()
        assert [video["id"] for video in page["items"]] == [refused]

    def test_queries_that_are_wrong(self, api: LiveApi) -> None:
        for query, field in WRONG_QUERIES:
            response = api.client.get(f"/v1/videos?{query}")
            slug = "malformed-cursor" if response.json()["type"].endswith("cursor") else "invalid-request"
            assert_problem(response, 422, slug, field)


class TestDeleteVideo:
    def test_takes_its_objects_along(self, api: LiveApi) -> None:
        kept, gone = api.upload()["id"], api.upload()["id"]
        assert api.client.delete(f"/v1/videos/{gone}").status_code == 204
        assert_problem(api.client.get(f"/v1/videos/{gone}"), 404, "video-not-found")
        assert_problem(api.client.delete(f"/v1/videos/{gone}"), 404, "video-not-found")
        assert api.objects() == [source_key(kept)]

    def test_not_while_it_is_encoded(self, api: LiveApi) -> None:
        video_id = api.upload()["id"]
        job_id = new_job(api.deployment.database, video_id=video_id)
        problem = assert_problem(api.client.delete(f"/v1/videos/{video_id}"), 409, "video-in-use")
        assert job_id in problem["detail"]
        assert api.objects() == [source_key(video_id)]


class TestCreateJob:
    def test_with_settings(self, api: LiveApi) -> None:
        video_id = probed_video(api.deployment.database)
        body = {"preset": "fast", "settings": {"scale": 3, "training": {"steps": 17}}}
        response = api.client.post(f"/v1/videos/{video_id}/jobs", json=body)
        assert response.status_code == 202
        job = response.json()
        assert response.headers["location"] == f"/v1/jobs/{job['id']}"
        assert (job["video_id"], job["preset"], job["state"]) == (video_id, "fast", "queued")
        assert (job["settings"]["scale"], job["settings"]["training"]["steps"]) == (3, 17)
        untouched = find_preset("fast").settings.training
        assert job["settings"]["training"]["batch_size"] == untouched.batch_size
        # The message of the probe, which nobody took up, and that of the encode.
        assert (queue_depth(api.settings, "cpu"), queue_depth(api.settings, "gpu")) == (2, 0)

    def test_by_default(self, embedded_api: LiveApi) -> None:
        video_id = new_video(embedded_api.deployment.database)
        assert embedded_api.client.post(f"/v1/videos/{video_id}/jobs", json={}).json()["preset"] == "balanced"

    @pytest.mark.parametrize(
        ("body", "fields"),
        [
            ({"preset": "best"}, ["preset"]),
            ({"preset": None}, ["preset"]),
            ({"preset": "a\x00b"}, ["preset"]),
            ({"presets": "fast"}, ["presets"]),
            ({"settings": []}, ["settings"]),
            ({"settings": {"training": {"steps": 0}}}, ["settings.training.steps"]),
            ({"settings": {"training": {"steps": "5"}}}, ["settings.training.steps"]),
            ({"settings": {"training": {"learning_rate": True}}}, ["settings.training.learning_rate"]),
            ({"settings": {"training": {"step": 5}}}, ["settings.training.step"]),
            ({"settings": {"colour": 1}}, ["settings.colour"]),
            ({"settings": {"training": 3}}, ["settings.training"]),
            ({"settings": {"base_stream": {"crf": 20, "bitrate_kbps": 500}}}, ["settings.base_stream"]),
            ({"settings": {"training": {"architecture": "vdsr"}}}, ["settings"]),
            ({"settings": {"scale": 5, "seed": -1}}, ["settings.scale", "settings.seed"]),
            ([], ["body"]),
        ],
    )
    def test_wrong_fields_are_named(self, embedded_api: LiveApi, body: object, fields: list[str]) -> None:
        video_id = new_video(embedded_api.deployment.database)
        response = embedded_api.client.post(f"/v1/videos/{video_id}/jobs", json=body)
        problem = assert_problem(response, 422, "invalid-request")
        assert [error["field"] for error in problem["errors"]] == fields
        assert embedded_api.count(JobRow) == 0

    def test_odd_bodies(self, api: LiveApi) -> None:
        video_id = new_video(api.deployment.database)
        headers = {"Content-Type": "application/json"}
        for body, status, slug in ODD_BODIES:
            response = api.client.post(f"/v1/videos/{video_id}/jobs", content=body, headers=headers)
            assert_problem(response, status, slug)

    @pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "nonsense"])
    def test_other_content_types(self, embedded_api: LiveApi, content_type: str) -> None:
        video_id = new_video(embedded_api.deployment.database)
        headers = {"Content-Type": content_type}
        response = embedded_api.client.post(f"/v1/videos/{video_id}/jobs", content=b"{}", headers=headers)
        assert_problem(response, 415, "unsupported-media-type")

    def test_of_a_video_that_is_not_there(self, api: LiveApi) -> None:
        response = api.client.post(f"/v1/videos/{new_id()}/jobs", json={})
        assert_problem(response, 404, "video-not-found")

    def test_of_a_refused_video(self, api: LiveApi) -> None:
        response = api.client.post(f"/v1/videos/{refused_video(api)}/jobs", json={})
        problem = assert_problem(response, 409, "video-refused")
        assert REFUSAL.detail in problem["detail"]
