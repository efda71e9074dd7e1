from __future__ import annotations

import inspect
import socket
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from stdo.service.answers import retry_after_seconds
from stdo.service.api_errors import (
    ApiError,
    EventStreamUnavailableError,
    InvalidServiceUrlError,
    ServiceUnreachableError,
    UnexpectedAnswerError,
    WaitTimeoutError,
)
from stdo.service.async_client import AsyncClient
from stdo.service.client import Client
from stdo.service.resources import Job, Page
from tests.stdo.service.both_clients import OpenClient
from tests.stdo.service.scripted_service import (
    ScriptedService,
    make_event,
    make_job,
    problem,
    serving,
)

_BUNDLE = "/v1/jobs/j1/bundle"


def test_both_clients_have_the_same_methods_and_arguments() -> None:
    methods = {name for name in vars(Client) if not name.startswith("_")}
    assert methods == {name for name in vars(AsyncClient) if not name.startswith("_")}
    for name in methods:
        parameters = inspect.signature(getattr(Client, name)).parameters
        assert parameters == inspect.signature(getattr(AsyncClient, name)).parameters, name


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


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("900", 60.0), ("-1", 0.0), ("nan", 0.0), ("inf", 60.0), ("tomorrow", 2.0)],
)
def test_whatever_a_server_says_the_pause_is_a_number_of_seconds(header: str, seconds: float) -> None:
    assert retry_after_seconds(httpx.Response(200, headers={"Retry-After": header}), 2.0) == seconds
