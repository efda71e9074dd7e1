"""What happens around every request: an id and a log line, limits, HEAD and OPTIONS, and an answer to every defect."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from urllib.parse import quote
from uuid import uuid4

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http import problems
from app.http.allowed_methods import allowed_methods
from app.http.problems import ProblemError

LINGER_SECONDS = 5.0
"""How long the rest of a refused upload is read and dropped, so that its sender gets to see the answer."""

SECURITY_HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    # Addresses of presigned files are secrets for as long as they live.
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}

_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

log = logging.getLogger(__name__)


class RequestLogMiddleware:
    """Gives each request an id, sends the security headers, and writes one log line.

    The line has the path without its query, and no header: neither keys nor presigned addresses get into the log.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _PLAIN_ID.fullmatch(given) else uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        status, started = 0, time.monotonic()

        async def send_logged(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, send_logged)
        finally:
            log.info(
                "request",
                extra={
                    "request_id": request_id,
                    "method": scope["method"],
                    "path": quote(scope["path"]),
                    "status": status,
                    "duration_ms": round((time.monotonic() - started) * 1000, 1),
                },
            )


class UnhandledErrorMiddleware:
    """Answers what no handler knows with a problem that tells nothing but the id of the log line."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, send_watched)
        except ClientDisconnect:
            log.info("the client went away before its request was complete")
        except Exception as error:
            response = problems.internal_error(scope, error)
            if started:
                # Too late for another status. Breaking the connection tells the client that the body is not whole.
                raise
            await response(scope, receive, send)


class BodyLimitMiddleware:
    """Refuses bodies that are too long, by their declared length and by what really comes.

    Where a request was answered before its body was read, the rest is dropped for a while before the connection is
    closed: a sender that is cut off at once reports a broken connection and never reads why.
    """

    def __init__(self, app: ASGIApp, *, default_bytes: int, bytes_of_path: Mapping[str, int]) -> None:
        self._app = app
        self._default_bytes = default_bytes
        self._bytes_of_path = bytes_of_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._bytes_of_path.get(scope["path"], self._default_bytes)
        headers = Headers(scope=scope)
        declared = int(headers.get("content-length", "0"))
        received, complete = 0, declared == 0 and "transfer-encoding" not in headers

        async def receive_limited() -> Message:
            nonlocal received, complete
            if declared > limit:
                raise _too_large(limit)
            message = await receive()
            complete = complete or message["type"] != "http.request" or not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > limit:
                raise _too_large(limit)
            return message

        async def send_lingering(message: Message) -> None:
            last = message["type"] == "http.response.body" and not message.get("more_body", False)
            if not last or complete:
                await send(message)
                return
            await send({**message, "more_body": True})
            await _drop_rest(receive)
            await send({"type": "http.response.body", "body": b""})

        await self._app(scope, receive_limited, send_lingering)


def _too_large(limit: int) -> ProblemError:
    return ProblemError(problems.CONTENT_TOO_LARGE, f"The body may have at most {limit} bytes.")


async def _drop_rest(receive: Receive) -> None:
    with anyio.move_on_after(LINGER_SECONDS):
        while True:
            message = await receive()
            if message["type"] != "http.request" or not message.get("more_body", False):
                return


class HeadAndOptionsMiddleware:
    """HEAD is GET without the body, and OPTIONS tells the methods, for every address alike.

    A route that must know finds the request's own method in `scope["state"]["method"]`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})["method"] = scope["method"]
        if scope["method"] == "HEAD":
            await self._app({**scope, "method": "GET"}, receive, _without_body(send))
        elif scope["method"] == "OPTIONS" and (methods := allowed_methods(scope)):
            await Response(status_code=204, headers={"Allow": ", ".join(methods)})(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _without_body(send: Send) -> Send:
    async def send_head(message: Message) -> None:
        # The end follows the headers at once: a stream of events would not end by itself.
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body", "body": b""})

    return send_head
