"""A small HTTP server on loopback that speaks as the service does, and goes wrong as told. Every request is kept."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from stdo.service.resources import (
    BundleSummary,
    Failure,
    FieldError,
    Job,
    JobEvent,
    JobState,
    Page,
    Preset,
    Problem,
    Video,
)
from tests.stdo.service.file_answers import DroppedConnectionError, FileAnswer, cut, file_response

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_END_OF_HEADERS = b"\r\n\r\n"


@dataclass(frozen=True, kw_only=True)
class Received:
    """One request as the server saw it."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class FormPart:
    """One part of a multipart body."""

    name: str
    file_name: str | None
    data: bytes


@dataclass
class ScriptedService:
    """What the server answers. Tests fill it in, and look at `received` afterwards."""

    url: str = ""
    received: list[Received] = field(default_factory=list)
    parts: list[FormPart] = field(default_factory=list)
    uploaded_bytes: int = 0
    keep_upload: bool = True
    job_answers: list[Job | Response] = field(default_factory=list)
    """Answers of GET /v1/jobs/{id}, one after another; the last is repeated."""
    pages: list[Page[Job]] = field(default_factory=list)
    event_answers: list[Sequence[JobEvent] | Response] = field(default_factory=list)
    """One entry for each connection: its events, after which it is cut; or another answer."""
    retry_after: str = "0.01"
    bundle_folder: Path | None = None
    file_redirect: str | None = None
    file_answers: dict[str, list[FileAnswer]] = field(default_factory=dict)
    """Path of a bundle's file -> how the next requests for it are answered; those after them get the file."""
    lost_answers: list[Response | None] = field(default_factory=list)
    """One entry for each next POST: it is done, but this is the answer; or there is none, as the connection breaks."""
    done_by_key: dict[str, Job | Video] = field(default_factory=dict)
    """What was made for each Idempotency-Key."""

    def forget(self) -> None:
        """As new, at the same address."""
        vars(self).update(vars(ScriptedService(url=self.url)))

    def requests(self, method: str, path: str) -> list[Received]:
        """The requests for that path."""
        return [one for one in self.received if one.method == method and one.path == path]

    def app(self) -> Starlette:
        """The server."""
        routes = [
            Route("/v1/videos", self._upload, methods=["POST"]),
            Route("/v1/videos", self._videos),
            Route("/v1/videos/{id}", self._video, methods=["GET", "DELETE"]),
            Route("/v1/videos/{id}/jobs", self._create, methods=["POST"]),
            Route("/v1/jobs", self._encode, methods=["POST"]),
            Route("/v1/jobs", self._jobs),
            Route("/v1/jobs/{id}", self._job, methods=["GET", "DELETE"]),
            Route("/v1/jobs/{id}/cancel", self._cancel, methods=["POST"]),
            Route("/v1/jobs/{id}/events", self._events),
            Route("/v1/jobs/{id}/bundle/{path:path}", self._file),
            Route("/v1/presets", self._presets),
        ]
        return Starlette(routes=routes)

    def note(self, request: Request) -> None:
        """Keep a request."""
        self.received.append(
            Received(
                method=request.method,
                path=request.url.path,
                query=dict(request.query_params),
                headers=dict(request.headers),
            )
        )

    async def _upload(self, request: Request) -> Response:
        self.note(request)
        await self._take_body(request)
        return self._done(request, make_video(), 201)

    async def _encode(self, request: Request) -> Response:
        self.note(request)
        await self._take_body(request)
        return self._done(request, make_job("queued"), 202)

    def _done(self, request: Request, made: Job | Video, status: int) -> Response:
        key = request.headers["idempotency-key"]
        made = self.done_by_key.setdefault(
            key, made.model_copy(update={"id": f"{made.id[0]}{len(self.done_by_key) + 1}"})
        )
        if not self.lost_answers:
            return _json(made, status)
        lost = self.lost_answers.pop(0)
        return StreamingResponse(cut(b""), headers={"Content-Length": "1000"}) if lost is None else lost

    async def _take_body(self, request: Request) -> None:
        body = bytearray()
        async for data in request.stream():
            self.uploaded_bytes += len(data)
            if self.keep_upload:
                body += data
        self.parts = _split_form(bytes(body), request.headers["content-type"]) if self.keep_upload else []

    async def _create(self, request: Request) -> Response:
        self.note(request)
        body = await request.json()
        if body["settings"].get("scale") == 5:
            errors = (FieldError(field="settings.scale", message="Input should be 2, 3 or 4"),)
            return problem(422, "invalid-request", "The request is not valid", "settings.scale: wrong", errors)
        job = make_job("queued", settings=body["settings"], preset=body.get("preset", "balanced"))
        return self._done(request, job, 202)

    async def _videos(self, request: Request) -> Response:
        self.note(request)
        return _json(Page[Video](items=(make_video(),), next_cursor=None))

    async def _video(self, request: Request) -> Response:
        self.note(request)
        return Response(status_code=204) if request.method == "DELETE" else _json(make_video())

    async def _jobs(self, request: Request) -> Response:
        self.note(request)
        return _json(self.pages[int(request.query_params.get("cursor", "0"))])

    async def _job(self, request: Request) -> Response:
        self.note(request)
        if request.method == "DELETE":
            return Response(status_code=204)
        answer = self.job_answers.pop(0) if len(self.job_answers) > 1 else self.job_answers[0]
        if isinstance(answer, Response):
            return answer
        etag = f'"{answer.progress}-{answer.state}"'
        headers = {"ETag": etag, "Retry-After": self.retry_after}
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(answer.model_dump_json(), media_type="application/json", headers=headers)

    async def _cancel(self, request: Request) -> Response:
        self.note(request)
        return self._done(request, make_job("cancelled"), 202)

    async def _presets(self, request: Request) -> Response:
        self.note(request)
        preset = Preset(name="fast", summary="Minutes.", settings={"scale": 2})
        return _json(Page[Preset](items=(preset,), next_cursor=None))

    async def _events(self, request: Request) -> Response:
        self.note(request)
        answer = self.event_answers.pop(0)
        if isinstance(answer, Response):
            return answer
        return StreamingResponse(_event_lines(answer), media_type="text/event-stream")

    async def _file(self, request: Request) -> Response:
        self.note(request)
        path = request.path_params["path"]
        assert self.bundle_folder is not None
        if self.file_redirect is not None and path != "manifest.json":
            return RedirectResponse(f"{self.file_redirect}/{path}", status_code=307)
        file = self.bundle_folder / path
        if not file.is_file():
            return problem(404, "bundle-file-not-found", "No such file", f"The bundle has no {path}.")
        answers = self.file_answers.get(path)
        if answers is None:
            return FileResponse(file)
        return file_response(request, file.read_bytes(), answers.pop(0) if answers else FileAnswer())


@contextmanager
def serving(app: Starlette) -> Iterator[str]:
    """Serves on a free port of the loopback; its URL."""
    config = uvicorn.Config(app, port=0, log_level="critical", lifespan="off", ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            threading.Event().wait(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def make_job(state: JobState, *, progress: float = 0.0, **changes: Any) -> Job:
    """A job of id `j1`."""
    done = BundleSummary(manifest_url="/v1/jobs/j1/bundle/manifest.json", bytes={"total": 1000}, quality={})
    values: dict[str, Any] = {
        "id": "j1",
        "video_id": "v1",
        "stage": "train" if state == "training" else None,
        "stage_progress": None,
        "eta_seconds": None,
        "speed": None,
        "preset": "fast",
        "settings": {},
        "cancel_requested": False,
        "failure": Failure(type="broken", title="It broke", detail="Mend it.") if state == "failed" else None,
        "stage_seconds": {},
        "created_at": NOW,
        "started_at": None,
        "finished_at": None,
        "bundle": done if state == "succeeded" else None,
    }
    return Job(**(values | {"state": state, "progress": progress} | changes))


def make_event(number: int, state: JobState, progress: float = 0.0) -> JobEvent:
    """An event of job `j1`."""
    return JobEvent(id=number, type="progress", at=NOW, state=state, stage=None, progress=progress)


def make_video() -> Video:
    """A video of id `v1`."""
    return Video(id="v1", state="uploaded", file_name="clip.mp4", byte_count=3, sha256="0" * 64, created_at=NOW)


def problem(status: int, slug: str, title: str, detail: str, errors: tuple[FieldError, ...] = ()) -> Response:
    """Problem details as an answer."""
    body = Problem(type=f"/problems/{slug}", title=title, status=status, detail=detail, errors=errors)
    return Response(body.model_dump_json(), status, media_type="application/problem+json")


def _json(model: Any, status: int = 200) -> Response:
    return Response(model.model_dump_json(), status, media_type="application/json")


async def _event_lines(events: Sequence[JobEvent]) -> AsyncIterator[str]:
    yield ": keep-alive\n\n"
    for event in events:
        yield f"id: {event.id}\nevent: {event.type}\nretry: 10\ndata: {event.model_dump_json()}\n\n"
    if not events or events[-1].state == "training":
        raise DroppedConnectionError


def _split_form(body: bytes, content_type: str) -> list[FormPart]:
    boundary = content_type.partition("boundary=")[2].encode()
    parts = []
    for piece in body.split(b"--" + boundary)[1:-1]:
        head, _, data = piece.removeprefix(b"\r\n").partition(_END_OF_HEADERS)
        file_name = re.search(rb'filename="([^"]*)"', head)
        name = re.search(rb'[; ]name="([^"]*)"', head)
        assert name is not None
        parts.append(
            FormPart(
                name=name[1].decode(),
                file_name=file_name[1].decode() if file_name else None,
                data=data.removesuffix(b"\r\n"),
            )
        )
    return parts


def as_json(data: bytes) -> Any:
    """What a form field holds."""
    return json.loads(data)
