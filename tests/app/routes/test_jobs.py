from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastapi.routing
import httpx
import pytest

from core.callers import LOCAL_CALLER
from core.jobs import events, idempotency, job_states
from core.jobs.claims import Claim, Finished, Made
from core.jobs.progress import StageReport
from core.storage.keys import bundle_prefix, work_key
from core.tables import JobRow, VideoRow, new_id
from core.task_queue import queue_depth
from tests.app.live import LiveApi, assert_problem, wait_until
from tests.core.samples import after, claim, new_job, new_video, sample_bundle, succeed, training_job


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event of a stream."""

    id: int
    type: str
    data: dict[str, Any]


def read_events(response: httpx.Response) -> Iterator[Event]:
    """Events of a stream, as a browser understands them."""
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield Event(id=int(fields["id"]), type=fields["event"], data=json.loads(fields["data"]))
            fields = {}


def succeeded_job(api: LiveApi) -> str:
    """A job that has gone all its way; the bundle's objects are not there."""
    database = api.deployment.database
    job_id = training_job(database, training_count=1)
    succeed(database, claim(database, job_id, "train", 0, seconds=1), Made(), seconds=2)
    held = claim(database, job_id, "finish", seconds=3)
    succeed(database, held, Finished(bundle=sample_bundle(job_id)), seconds=4)
    return job_id


def cancelled_job(api: LiveApi) -> str:
    job_id = new_job(api.deployment.database)
    with api.deployment.database.transaction() as session:
        job_states.cancel(session, LOCAL_CALLER, job_id, now=after(1))
    return job_id


def beat(api: LiveApi, held: Claim, done: int, seconds: float) -> None:
    report = StageReport(stage="train", done=done, total=100, unit="steps")
    with api.deployment.database.transaction() as session:
        job_states.heartbeat(session, held, now=after(seconds), report=report)


class TestCreateJobWithVideo:
    def test_makes_both(self, api: LiveApi) -> None:
        settings = {"scale": 4, "training": {"steps": 9}}
        response = api.client.post(
            "/v1/jobs",
            files={"file": ("holiday.mp4", b"some bytes")},
            data={"preset": "fast", "settings": json.dumps(settings)},
        )
        assert response.status_code == 202
        job = response.json()
        assert response.headers["location"] == f"/v1/jobs/{job['id']}"
        assert (job["state"], job["preset"], job["progress"]) == ("queued", "fast", 0.0)
        assert (job["settings"]["scale"], job["settings"]["training"]["steps"]) == (4, 9)
        assert api.client.get(f"/v1/videos/{job['video_id']}").json()["file_name"] == "holiday.mp4"
        # The probe; the rest of the job waits for it.
        assert (queue_depth(api.settings, "cpu"), queue_depth(api.settings, "gpu")) == (1, 0)

    def test_fields_may_come_after_the_file_or_not_at_all(self, embedded_api: LiveApi) -> None:
        file = ("a.mp4", b"x")
        alone = embedded_api.client.post("/v1/jobs", files={"file": file})
        assert alone.json()["preset"] == "balanced"
        later = embedded_api.client.post("/v1/jobs", files=[("file", file), ("preset", (None, b"paper"))])
        assert later.json()["preset"] == "paper"
        empty = embedded_api.client.post("/v1/jobs", files={"file": file}, data={"preset": "", "settings": ""})
        assert empty.json()["preset"] == "balanced"

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"preset": "best"}, "preset"),
            ({"settings": "{"}, "settings"),
            ({"settings": "[]"}, "settings"),
            ({"settings": "3"}, "settings"),
            ({"settings": '{"seed": NaN}'}, "settings"),
            ({"settings": "[" * 60_000}, "settings"),
            ({"settings": '{"seed": ' + "9" * 5000 + "}"}, "settings"),
            ({"settings": '{"scale": 7}'}, "settings.scale"),
            ({"settings": '{"training": {"stepps": 7}}'}, "settings.training.stepps"),
            ({"settings": '{"method": "jstdo", "training": {"joint_shares": [0.5]}}'}, "settings.training"),
            ({"settings": '{"method": "awdnn", "groups": {"count": 4}}'}, "settings"),
            ({"setting": "{}"}, "setting"),
        ],
    )
    def test_wrong_fields_are_named_and_leave_nothing(
        self, embedded_api: LiveApi, fields: dict[str, str], field: str
    ) -> None:
        response = embedded_api.client.post("/v1/jobs", files={"file": ("a.mp4", b"some bytes")}, data=fields)
        assert_problem(response, 422, "invalid-request", field)
        assert embedded_api.objects() == []
        assert embedded_api.incoming() == []
        assert embedded_api.count(VideoRow) == 0

    @pytest.mark.parametrize("preset", ["fast", None])
    def test_wrong_settings_are_refused_before_the_file_comes(self, embedded_api: LiveApi, preset: str | None) -> None:
        fields = {"preset": preset, "settings": '{"scale": 7}'}
        disposition = "--x\r\nContent-Disposition: form-data; name="
        start = "".join(f'{disposition}"{name}"\r\n\r\n{value}\r\n' for name, value in fields.items() if value)
        start += f'{disposition}"file"; filename="a.mp4"\r\n\r\n'
        head = "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        with socket.create_connection(embedded_api.address, timeout=10) as link:
            link.sendall(f"{head}Content-Length: 1000000000\r\n\r\n{start}".encode())
            response = http.client.HTTPResponse(link)
            response.begin()
            assert response.status == 422
            assert [error["field"] for error in json.loads(response.read())["errors"]] == ["settings.scale"]

    def test_a_settings_file(self, embedded_api: LiveApi) -> None:
        # As `curl -F settings=@settings.json` sends it.
        files = {"file": ("a.mp4", b"x"), "settings": ("settings.json", b'{"seed": 5}', "application/json")}
        assert embedded_api.client.post("/v1/jobs", files=files).json()["settings"]["seed"] == 5

    def test_settings_that_are_no_text(self, embedded_api: LiveApi) -> None:
        files = {"file": ("a.mp4", b"x"), "settings": (None, b"\xff\xfe")}
        assert_problem(embedded_api.client.post("/v1/jobs", files=files), 422, "invalid-request", "settings")

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"sclae": 2}, "no such setting; did you mean scale?"),
            ({"training": {"stepps": 7}}, "no such setting; did you mean steps?"),
            ({"groups": {"size": 7}}, "no such setting; known are count"),
        ],
    )
    def test_an_unknown_setting_is_told_what_there_is(
        self, embedded_api: LiveApi, settings: dict[str, Any], message: str
    ) -> None:
        files, fields = {"file": ("a.mp4", b"x")}, {"settings": json.dumps(settings)}
        problem = embedded_api.client.post("/v1/jobs", files=files, data=fields).json()
        assert [error["message"] for error in problem["errors"]] == [message]


KEY = {"Idempotency-Key": "upload 7 of holiday.mp4"}


class TestIdempotencyKey:
    def post(self, api: LiveApi, key: str, data: bytes = b"some bytes", **fields: str) -> httpx.Response:
        files = {"file": ("a.mp4", data)}
        return api.client.post("/v1/jobs", files=files, data=fields, headers={"Idempotency-Key": key})

    def test_the_same_upload_makes_one_job(self, api: LiveApi) -> None:
        first, second = (self.post(api, "one", preset="fast") for _ in range(2))
        assert first.status_code == second.status_code == 202
        assert first.json() == second.json()
        assert first.headers["location"] == second.headers["location"]
        assert (api.count(JobRow), api.count(VideoRow), len(api.objects())) == (1, 1, 1)
        assert self.post(api, "two", preset="fast").json()["id"] != first.json()["id"]

    def test_the_answer_is_the_job_as_it_is_now(self, api: LiveApi) -> None:
        job_id = self.post(api, "one").json()["id"]
        api.client.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
        again = self.post(api, "one")
        assert (again.status_code, again.json()["id"], again.json()["state"]) == (202, job_id, "cancelled")
        api.client.delete(f"/v1/jobs/{job_id}").raise_for_status()
        assert_problem(self.post(api, "one"), 404, "job-not-found")

    def test_another_request_with_the_key_is_refused(self, api: LiveApi) -> None:
        video_id = self.post(api, "one", preset="fast").json()["video_id"]
        others = [
            self.post(api, "one", data=b"other bytes", preset="fast"),
            self.post(api, "one", preset="paper"),
            self.post(api, "one", preset="fast", settings='{"scale": 3}'),
            api.client.post("/v1/videos", files={"file": ("a.mp4", b"some bytes")}, headers={"Idempotency-Key": "one"}),
            api.client.post(f"/v1/videos/{video_id}/jobs", json={}, headers={"Idempotency-Key": "one"}),
        ]
        for response in others:
            assert_problem(response, 422, "idempotency-key-reused", "header.Idempotency-Key")
        assert (api.count(JobRow), api.count(VideoRow), len(api.objects())) == (1, 1, 1)

    def test_a_job_of_a_video(self, api: LiveApi) -> None:
        video_id = new_video(api.deployment.database)
        bodies = ({"preset": "fast", "settings": {"seed": 3}}, {"settings": {"seed": 3}, "preset": "fast"})
        made = [api.client.post(f"/v1/videos/{video_id}/jobs", json=body, headers=KEY).json() for body in bodies]
        assert made[0] == made[1]
        assert api.count(JobRow) == 1
        other = api.client.post(f"/v1/videos/{video_id}/jobs", json={"preset": "fast"}, headers=KEY)
        assert_problem(other, 422, "idempotency-key-reused")

    def test_a_video(self, api: LiveApi) -> None:
        files = {"file": ("a.mp4", b"some bytes")}
        first, second = (api.client.post("/v1/videos", files=files, headers=KEY) for _ in range(2))
        assert (first.status_code, first.json()) == (second.status_code, second.json())
        assert first.status_code == 201
        assert (api.count(VideoRow), len(api.objects())) == (1, 1)

    def test_at_the_same_time(self, api: LiveApi, monkeypatch: pytest.MonkeyPatch) -> None:
        """All of them look for an earlier answer before any of them has made one."""
        count = 4
        all_looked = threading.Barrier(count)
        find, local = idempotency.find, threading.local()

        def look(*arguments: Any) -> Any:
            found = find(*arguments)
            if not getattr(local, "waited", False):
                local.waited = True
                all_looked.wait(20)
            return found

        monkeypatch.setattr(idempotency, "find", look)
        answers: list[httpx.Response] = []
        senders = [threading.Thread(target=lambda: answers.append(self.post(api, "one"))) for _ in range(count)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        assert {response.status_code for response in answers} == {202}
        assert len({response.json()["id"] for response in answers}) == 1
        assert (api.count(JobRow), api.count(VideoRow), len(api.objects())) == (1, 1, 1)

    def test_what_was_refused_is_not_remembered(self, api: LiveApi) -> None:
        assert_problem(self.post(api, "one", settings='{"scale": 7}'), 422, "invalid-request", "settings.scale")
        assert self.post(api, "one", settings='{"scale": 3}').status_code == 202

    @pytest.mark.parametrize("key", ["", "x" * 256, "caf\xe9", "a\tb"])
    def test_keys_that_are_none(self, embedded_api: LiveApi, key: str) -> None:
        response = embedded_api.client.post(
            "/v1/jobs", files={"file": ("a.mp4", b"x")}, headers={"Idempotency-Key": key.encode("latin-1")}
        )
        assert_problem(response, 422, "invalid-request", "header.Idempotency-Key")
        assert embedded_api.count(JobRow) == 0


class TestGetJob:
    def test_unknown(self, api: LiveApi) -> None:
        for job_id in (new_id(), "x", "a%00b", "%F0%9F%8E%AC"):
            assert_problem(api.client.get(f"/v1/jobs/{job_id}"), 404, "job-not-found")

    def test_its_entity_tag_follows_its_progress(self, api: LiveApi) -> None:
        database = api.deployment.database
        job_id = training_job(database, training_count=1)
        held = claim(database, job_id, "train", 0, seconds=1)
        beat(api, held, 10, 2)
        first = api.client.get(f"/v1/jobs/{job_id}")
        assert first.headers["retry-after"] == "2"
        assert first.headers["cache-control"] == "private, no-cache"
        assert first.json()["stage_progress"] == {"done": 10, "total": 100, "unit": "steps"}
        tag = {"If-None-Match": f'W/"other", {first.headers["etag"]}'}
        same = api.client.get(f"/v1/jobs/{job_id}", headers=tag)
        assert (same.status_code, same.content, same.headers["retry-after"]) == (304, b"", "2")
        beat(api, held, 20, 4)
        later = api.client.get(f"/v1/jobs/{job_id}", headers=tag)
        assert later.status_code == 200
        assert later.json()["progress"] > first.json()["progress"]

    def test_succeeded(self, api: LiveApi) -> None:
        job_id = succeeded_job(api)
        response = api.client.get(f"/v1/jobs/{job_id}")
        job = response.json()
        assert (job["state"], job["progress"]) == ("succeeded", 1.0)
        assert job["bundle"]["manifest_url"] == f"/v1/jobs/{job_id}/bundle/manifest.json"
        assert job["bundle"]["bytes"]["total"] == sum(
            job["bundle"]["bytes"][part] for part in ("base_stream", "networks", "patch_index", "tables", "manifest")
        )
        assert "retry-after" not in response.headers


class TestListJobs:
    def test_filters_and_pages(self, api: LiveApi) -> None:
        database = api.deployment.database
        video_id = new_video(database)
        made = [new_job(database, video_id=video_id, seconds=second) for second in range(3)]
        other = new_job(database, seconds=10)
        cancelled = cancelled_job(api)

        def ids(**query: Any) -> list[str]:
            return [job["id"] for job in api.client.get("/v1/jobs", params=query).json()["items"]]

        assert sorted(ids()) == sorted([*made, other, cancelled])
        assert ids(video_id=video_id) == made[::-1]
        assert ids(state="cancelled") == [cancelled]
        assert ids(video_id=video_id, state="cancelled") == []
        page = api.client.get("/v1/jobs", params={"video_id": video_id, "limit": 2}).json()
        rest = api.client.get("/v1/jobs", params={"video_id": video_id, "cursor": page["next_cursor"]}).json()
        assert [job["id"] for job in page["items"] + rest["items"]] == made[::-1]
        assert rest["next_cursor"] is None

    @pytest.mark.parametrize("query", ["video_id=%00", "video_id=x", "state=", "limit=-1", "video=x"])
    def test_queries_that_are_wrong(self, embedded_api: LiveApi, query: str) -> None:
        field = f"query.{query.split('=')[0]}"
        assert_problem(embedded_api.client.get(f"/v1/jobs?{query}"), 422, "invalid-request", field)


class TestCancel:
    def test_at_once_where_nobody_works_on_it(self, api: LiveApi) -> None:
        job_id = new_job(api.deployment.database)
        response = api.client.post(f"/v1/jobs/{job_id}/cancel")
        assert (response.status_code, response.json()["state"]) == (202, "cancelled")

    def test_again_changes_nothing(self, api: LiveApi) -> None:
        database = api.deployment.database
        job_id = training_job(database)
        claim(database, job_id, "train", 0, seconds=1)
        first, second = (api.client.post(f"/v1/jobs/{job_id}/cancel") for _ in range(2))
        assert first.status_code == second.status_code == 202
        assert (first.json()["state"], first.json()["cancel_requested"]) == ("training", True)
        assert first.json() == second.json()

    def test_not_once_it_has_ended(self, api: LiveApi) -> None:
        assert_problem(api.client.post(f"/v1/jobs/{succeeded_job(api)}/cancel"), 409, "job-finished")
        assert_problem(api.client.post(f"/v1/jobs/{new_id()}/cancel"), 404, "job-not-found")


class TestDeleteJob:
    def test_takes_its_bundle_along(self, api: LiveApi, tmp_path: Path) -> None:
        job_id = succeeded_job(api)
        file = tmp_path / "file"
        file.write_bytes(b"x")
        keys = [f"{bundle_prefix(job_id, 1)}manifest.json", work_key(job_id, "plan.npz")]
        for key in keys:
            api.deployment.store.put_file(key, file)
        assert api.client.delete(f"/v1/jobs/{job_id}").status_code == 204
        assert api.objects() == []
        assert_problem(api.client.get(f"/v1/jobs/{job_id}"), 404, "job-not-found")
        assert api.count(VideoRow) == 1

    def test_not_while_it_runs(self, api: LiveApi) -> None:
        job_id = new_job(api.deployment.database)
        assert_problem(api.client.delete(f"/v1/jobs/{job_id}"), 409, "job-active")
        assert api.count(JobRow) == 1
        assert_problem(api.client.delete(f"/v1/jobs/{new_id()}"), 404, "job-not-found")


class TestEvents:
    def test_the_whole_history_of_a_job_that_has_ended(self, api: LiveApi) -> None:
        job_id = succeeded_job(api)
        with api.client.stream("GET", f"/v1/jobs/{job_id}/events") as response:
            assert response.status_code == 200
            assert response.headers["content-type"].startswith("text/event-stream")
            assert response.headers["cache-control"] == "no-cache"
            seen = list(read_events(response))
        with api.deployment.database.snapshot() as session:
            expected = events.list_after(session, LOCAL_CALLER, job_id, 0)
        assert [event.data for event in seen] == [event.model_dump(mode="json") for event in expected]
        assert [event.id for event in seen] == list(range(1, len(expected) + 1))
        assert seen[-1].data["state"] == "succeeded"

    def test_what_happens_meanwhile(self, api: LiveApi) -> None:
        database = api.deployment.database
        job_id = training_job(database, training_count=1)
        held = claim(database, job_id, "train", 0, seconds=1)

        def work() -> None:
            for step in range(1, 4):
                time.sleep(0.3)
                beat(api, held, 10 * step, 2 * step)
            with database.transaction() as session:
                job_states.cancel(session, LOCAL_CALLER, job_id, now=after(10))
            with database.transaction() as session:
                job_states.acknowledge_cancel(session, held, now=after(11))

        worker = threading.Thread(target=work)
        with api.client.stream("GET", f"/v1/jobs/{job_id}/events") as response:
            worker.start()
            seen = list(read_events(response))
        worker.join()
        assert [event.id for event in seen] == list(range(1, len(seen) + 1))
        progress = [event.data["progress"] for event in seen]
        assert progress == sorted(progress)
        assert {10, 20, 30} <= {(event.data["stage_progress"] or {}).get("done") for event in seen}
        assert seen[-1].data["state"] == "cancelled"

    def test_go_on_after_the_last_event_seen(self, api: LiveApi) -> None:
        job_id = succeeded_job(api)
        with api.client.stream("GET", f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "2"}) as response:
            assert next(event.id for event in read_events(response)) == 3

    def test_nothing_more(self, api: LiveApi) -> None:
        job_id = cancelled_job(api)
        response = api.client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "2"})
        assert (response.status_code, response.content) == (204, b"")

    def test_wrong_requests(self, api: LiveApi) -> None:
        job_id = new_job(api.deployment.database)
        for last in ("x", "-1", "99999999999999999999"):
            response = api.client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": last})
            assert_problem(response, 422, "invalid-request", "header.Last-Event-ID")
        for unknown in (new_id(), "a%00b"):
            assert_problem(api.client.get(f"/v1/jobs/{unknown}/events"), 404, "job-not-found")

    def test_an_idle_stream_is_kept_alive(self, embedded_api: LiveApi, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fastapi.routing, "_PING_INTERVAL", 0.2)
        job_id = new_job(embedded_api.deployment.database)
        with embedded_api.client.stream("GET", f"/v1/jobs/{job_id}/events") as response:
            lines = (line for line in response.iter_lines() if line.startswith(":"))
            assert [next(lines), next(lines)] == [": ping", ": ping"]

    def test_many_listeners_hold_no_connection_and_no_thread(self, api: LiveApi) -> None:
        job_id = new_job(api.deployment.database)
        pool = api.app.state.services.database.engine.pool
        limits = httpx.Limits(max_connections=None)
        client = httpx.Client(base_url=api.url, headers=api.client.headers, limits=limits, trust_env=False)
        with client, ExitStack() as streams:
            for _ in range(60):
                response = streams.enter_context(client.stream("GET", f"/v1/jobs/{job_id}/events"))
                assert response.status_code == 200
            wait_until(lambda: pool.checkedout() == 0)
            # There are 40 threads for requests and 15 connections.
            assert api.client.get(f"/v1/jobs/{job_id}", timeout=5).status_code == 200

    def test_head_ends_at_once(self, embedded_api: LiveApi) -> None:
        job_id = new_job(embedded_api.deployment.database)
        response = embedded_api.client.head(f"/v1/jobs/{job_id}/events", timeout=5)
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
