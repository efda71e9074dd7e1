"""The service's HTTP calls as values: what to send, and how to read the answer. Shared by both clients; no I/O."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any, Generic, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from stdo.service.api_errors import (
    ApiError,
    EventStreamUnavailableError,
    InvalidServiceUrlError,
    ServiceUnreachableError,
    UnexpectedAnswerError,
)
from stdo.service.resources import Job, JobState, Page, Preset, Problem, Video, VideoState

Answer = TypeVar("Answer")
Model = TypeVar("Model", bound=BaseModel)

_PAGE_SIZE = 50
_NO_STREAM_STATUSES = frozenset({405, 406, 501})
_UPLOAD_TIMEOUT = httpx.Timeout(600.0, connect=10.0)
"""After the last byte the service may still have to hand the video on to its store."""


@dataclass(frozen=True, kw_only=True)
class Call(Generic[Answer]):
    """One request, and the function that reads its answer."""

    method: str
    path: str
    read: Callable[[httpx.Response], Answer]
    query: Mapping[str, str | int] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json_body: Any = None
    form: Mapping[str, str] | None = None
    upload: tuple[str, IO[bytes]] | None = None

    def request(self, http: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """The request as httpx sends it. Form fields go before the file, so that a server can refuse them early."""
        return http.build_request(
            self.method,
            self.path,
            params=dict(self.query) or None,
            headers=dict(self.headers),
            json=self.json_body,
            data=self.form,
            files={"file": self.upload} if self.upload else None,
            timeout=_UPLOAD_TIMEOUT if self.upload else http.timeout,
        )


def upload_video(file_name: str, file: IO[bytes]) -> Call[Video]:
    """POST /v1/videos"""
    return Call(method="POST", path="/v1/videos", upload=(file_name, file), read=_model(Video))


def encode(file_name: str, file: IO[bytes], preset: str | None, settings: Mapping[str, Any]) -> Call[Job]:
    """POST /v1/jobs: upload and job in one."""
    form = {"settings": json.dumps(settings)} | ({"preset": preset} if preset else {})
    return Call(method="POST", path="/v1/jobs", form=form, upload=(file_name, file), read=_model(Job))


def create_job(video_id: str, preset: str | None, settings: Mapping[str, Any]) -> Call[Job]:
    """POST /v1/videos/{id}/jobs"""
    body = {"settings": dict(settings)} | ({"preset": preset} if preset else {})
    return Call(method="POST", path=f"/v1/videos/{_segment(video_id)}/jobs", json_body=body, read=_model(Job))


def get_job(job_id: str) -> Call[Job]:
    """GET /v1/jobs/{id}"""
    return Call(method="GET", path=_job_path(job_id), read=_model(Job))


def poll_job(job_id: str, etag: str | None) -> Call[httpx.Response]:
    """GET /v1/jobs/{id}, or 304 where nothing changed since `etag`. The answer is left unread for its headers."""
    headers = {"If-None-Match": etag} if etag else {}
    return Call(method="GET", path=_job_path(job_id), headers=headers, read=_unless_error)


def list_jobs(state: JobState | None, video_id: str | None, cursor: str | None) -> Call[Page[Job]]:
    """GET /v1/jobs"""
    query = _query(state=state, video_id=video_id, limit=_PAGE_SIZE, cursor=cursor)
    return Call(method="GET", path="/v1/jobs", query=query, read=_model(Page[Job]))


def cancel_job(job_id: str) -> Call[Job]:
    """POST /v1/jobs/{id}/cancel"""
    return Call(method="POST", path=f"{_job_path(job_id)}/cancel", read=_model(Job))


def delete_job(job_id: str) -> Call[None]:
    """DELETE /v1/jobs/{id}"""
    return Call(method="DELETE", path=_job_path(job_id), read=_nothing)


def get_video(video_id: str) -> Call[Video]:
    """GET /v1/videos/{id}"""
    return Call(method="GET", path=f"/v1/videos/{_segment(video_id)}", read=_model(Video))


def list_videos(state: VideoState | None, cursor: str | None) -> Call[Page[Video]]:
    """GET /v1/videos"""
    query = _query(state=state, limit=_PAGE_SIZE, cursor=cursor)
    return Call(method="GET", path="/v1/videos", query=query, read=_model(Page[Video]))


def delete_video(video_id: str) -> Call[None]:
    """DELETE /v1/videos/{id}"""
    return Call(method="DELETE", path=f"/v1/videos/{_segment(video_id)}", read=_nothing)


def list_presets() -> Call[Page[Preset]]:
    """GET /v1/presets"""
    return Call(method="GET", path="/v1/presets", read=_model(Page[Preset]))


def event_stream(job_id: str, last_event_id: int) -> Call[httpx.Response]:
    """GET /v1/jobs/{id}/events, from the event after `last_event_id` on. The answer is a stream, or an error."""
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store", "Last-Event-ID": str(last_event_id)}
    return Call(method="GET", path=f"{_job_path(job_id)}/events", headers=headers, read=_event_stream)


def bundle_file(job_id: str, path: str) -> Call[httpx.Response]:
    """GET /v1/jobs/{id}/bundle/{path}: the bytes as they are, so that sizes and hashes can be compared."""
    url = f"{_job_path(job_id)}/bundle/{quote(path)}"
    return Call(method="GET", path=url, headers={"Accept-Encoding": "identity"}, read=_unless_error)


def retry_after_seconds(response: httpx.Response, default_seconds: float) -> float:
    """The pause that the service asks for (it always says seconds, not a date), at most a minute."""
    try:
        return min(max(float(response.headers["Retry-After"]), 0.0), 60.0)
    except (KeyError, ValueError):
        return default_seconds


@contextmanager
def named_errors(url: httpx.URL) -> Iterator[None]:
    """Turns what httpx raises into errors that say what to do."""
    try:
        yield
    except httpx.InvalidURL as error:
        raise InvalidServiceUrlError(f"{url} is not a usable address: {error}") from error
    except httpx.TimeoutException as error:
        message = f"The service at {url} did not answer in time ({type(error).__name__}). It may be busy: try again."
        raise ServiceUnreachableError(message) from error
    except httpx.ConnectError as error:
        message = f"Nothing answers at {url} ({error}). Is the service running, and is the address right?"
        raise ServiceUnreachableError(message) from error
    except (httpx.TransportError, httpx.StreamError) as error:
        message = f"The connection to the service at {url} broke ({error or type(error).__name__}). Try again."
        raise ServiceUnreachableError(message) from error
    except (httpx.TooManyRedirects, httpx.DecodingError) as error:
        raise UnexpectedAnswerError(f"What answers at {url} does not behave like the service: {error}") from error


def raise_for_problem(response: httpx.Response) -> None:
    """Raises ApiError for a 4xx or 5xx, UnexpectedAnswerError for a redirect that wasn't followed."""
    if response.has_redirect_location:
        target = response.headers.get("Location", "elsewhere")
        raise UnexpectedAnswerError(f"{response.url} redirects to {target}: give that address as the service's URL.")
    if response.is_error:
        raise ApiError(_problem(response))


def parse_job(response: httpx.Response) -> Job:
    """The job in an answer whose status was checked before."""
    return _parsed(response, Job.model_validate_json)


def _problem(response: httpx.Response) -> Problem:
    try:
        return Problem.model_validate_json(response.content)
    except ValidationError:
        # Not the service itself but something before it, such as a proxy that limits the size of a request.
        return Problem(
            type="about:blank",
            title=f"HTTP {response.status_code} {response.reason_phrase}".strip(),
            status=response.status_code,
            detail=response.text[:300].strip(),
        )


def _model(model: type[Model]) -> Callable[[httpx.Response], Model]:
    return lambda response: _parsed(response, model.model_validate_json)


def _parsed(response: httpx.Response, parse: Callable[[bytes], Answer]) -> Answer:
    raise_for_problem(response)
    try:
        return parse(response.content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the answer"
        message = (
            f"What answers at {response.url} is no stdo service, or one of another version ({where}: {first['msg']})."
        )
        raise UnexpectedAnswerError(message) from error


def _unless_error(response: httpx.Response) -> httpx.Response:
    if response.status_code != httpx.codes.NOT_MODIFIED:
        raise_for_problem(response)
    return response


def _event_stream(response: httpx.Response) -> httpx.Response:
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
    nothing_more = response.status_code == httpx.codes.NO_CONTENT
    no_stream = response.is_success and media_type != "text/event-stream" and not nothing_more
    if no_stream or response.status_code in _NO_STREAM_STATUSES:
        raise EventStreamUnavailableError(f"{response.url} gives no event stream (HTTP {response.status_code}).")
    return _unless_error(response)


def _nothing(response: httpx.Response) -> None:
    raise_for_problem(response)


def _query(**values: str | int | None) -> dict[str, str | int]:
    return {name: value for name, value in values.items() if value is not None}


def _job_path(job_id: str) -> str:
    return f"/v1/jobs/{_segment(job_id)}"


def _segment(identifier: str) -> str:
    if identifier in ("", ".", ".."):
        raise InvalidServiceUrlError(f"{identifier!r} is not the identifier of a job or video.")
    return quote(identifier, safe="")
