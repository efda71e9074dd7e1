"""The service's HTTP calls as values: what to send, and how to read the answer. Shared by both clients; no I/O."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Generic, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx

from stdo.service.answers import event_stream as event_stream_of
from stdo.service.answers import file_answer, model_of, nothing, unless_error
from stdo.service.api_errors import InvalidServiceUrlError
from stdo.service.resources import Job, JobState, Page, Preset, Video, VideoState

Answer = TypeVar("Answer")

_PAGE_SIZE = 50
_IDEMPOTENCY_KEY = "Idempotency-Key"
_SHORTEST_UPLOAD_ANSWER_SECONDS = 600.0
_SLOWEST_STORE_BYTES_PER_SECOND = 1e6
"""After the last byte the service hands the video on to its store, and answers only then."""


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
            timeout=_upload_timeout(self.upload[1], http.timeout) if self.upload else http.timeout,
        )

    @property
    def repeatable(self) -> bool:
        """Whether the service does what is asked once, however often the call is sent."""
        return _IDEMPOTENCY_KEY in self.headers


def upload_video(file_name: str, file: IO[bytes]) -> Call[Video]:
    """POST /v1/videos"""
    return _post("/v1/videos", upload=(file_name, file), read=model_of(Video))


def encode(file_name: str, file: IO[bytes], preset: str | None, settings: Mapping[str, Any]) -> Call[Job]:
    """POST /v1/jobs: upload and job in one."""
    form = {"settings": json.dumps(settings)} | ({"preset": preset} if preset else {})
    return _post("/v1/jobs", form=form, upload=(file_name, file), read=model_of(Job))


def create_job(video_id: str, preset: str | None, settings: Mapping[str, Any]) -> Call[Job]:
    """POST /v1/videos/{id}/jobs"""
    body = {"settings": dict(settings)} | ({"preset": preset} if preset else {})
    return _post(f"/v1/videos/{_segment(video_id)}/jobs", json_body=body, read=model_of(Job))


def get_job(job_id: str) -> Call[Job]:
    """GET /v1/jobs/{id}"""
    return Call(method="GET", path=_job_path(job_id), read=model_of(Job))


def poll_job(job_id: str, etag: str | None) -> Call[httpx.Response]:
    """GET /v1/jobs/{id}, or 304 where nothing changed since `etag`. The answer is left unread for its headers."""
    headers = {"If-None-Match": etag} if etag else {}
    return Call(method="GET", path=_job_path(job_id), headers=headers, read=unless_error)


def list_jobs(state: JobState | None, video_id: str | None, cursor: str | None) -> Call[Page[Job]]:
    """GET /v1/jobs"""
    query = _query(state=state, video_id=video_id, limit=_PAGE_SIZE, cursor=cursor)
    return Call(method="GET", path="/v1/jobs", query=query, read=model_of(Page[Job]))


def cancel_job(job_id: str) -> Call[Job]:
    """POST /v1/jobs/{id}/cancel"""
    return _post(f"{_job_path(job_id)}/cancel", read=model_of(Job))


def delete_job(job_id: str) -> Call[None]:
    """DELETE /v1/jobs/{id}"""
    return Call(method="DELETE", path=_job_path(job_id), read=nothing)


def get_video(video_id: str) -> Call[Video]:
    """GET /v1/videos/{id}"""
    return Call(method="GET", path=f"/v1/videos/{_segment(video_id)}", read=model_of(Video))


def list_videos(state: VideoState | None, cursor: str | None) -> Call[Page[Video]]:
    """GET /v1/videos"""
    query = _query(state=state, limit=_PAGE_SIZE, cursor=cursor)
    return Call(method="GET", path="/v1/videos", query=query, read=model_of(Page[Video]))


def delete_video(video_id: str) -> Call[None]:
    """DELETE /v1/videos/{id}"""
    return Call(method="DELETE", path=f"/v1/videos/{_segment(video_id)}", read=nothing)


def list_presets() -> Call[Page[Preset]]:
    """GET /v1/presets"""
    return Call(method="GET", path="/v1/presets", read=model_of(Page[Preset]))


def event_stream(job_id: str, last_event_id: int) -> Call[httpx.Response]:
    """GET /v1/jobs/{id}/events, from the event after `last_event_id` on. The answer is a stream, or an error."""
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store", "Last-Event-ID": str(last_event_id)}
    return Call(method="GET", path=f"{_job_path(job_id)}/events", headers=headers, read=event_stream_of)


@dataclass(frozen=True, kw_only=True)
class FileRest:
    """The part of a file that is still to come, of the very file that the part before it belongs to."""

    offset: int
    etag: str
    """A strong one."""


def bundle_file(job_id: str, path: str, rest: FileRest | None = None) -> Call[httpx.Response]:
    """GET /v1/jobs/{id}/bundle/{path}: the bytes as they are, so that sizes and hashes can be compared."""
    headers = {"Accept-Encoding": "identity"}
    if rest is not None:
        headers |= {"Range": f"bytes={rest.offset}-", "If-Range": rest.etag}
    return Call(method="GET", path=f"{_job_path(job_id)}/bundle/{quote(path)}", headers=headers, read=file_answer)


def _post(path: str, *, read: Callable[[httpx.Response], Answer], **body: Any) -> Call[Answer]:
    """A call with a key of its own, the same each time it is sent: a lost answer can be asked for again."""
    return Call(method="POST", path=path, read=read, headers={_IDEMPOTENCY_KEY: str(uuid4())}, **body)


def _upload_timeout(file: IO[bytes], usual: httpx.Timeout) -> httpx.Timeout:
    copying_seconds = os.fstat(file.fileno()).st_size / _SLOWEST_STORE_BYTES_PER_SECOND
    answer_seconds = max(usual.read or 0.0, _SHORTEST_UPLOAD_ANSWER_SECONDS) + copying_seconds
    return httpx.Timeout(connect=usual.connect, read=answer_seconds, write=usual.write, pool=usual.pool)


def _query(**values: str | int | None) -> dict[str, str | int]:
    return {name: value for name, value in values.items() if value is not None}


def _job_path(job_id: str) -> str:
    return f"/v1/jobs/{_segment(job_id)}"


def _segment(identifier: str) -> str:
    if identifier in ("", ".", ".."):
        raise InvalidServiceUrlError(f"{identifier!r} is not the identifier of a job or video.")
    return quote(identifier, safe="")
