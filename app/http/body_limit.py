"""How long a request's body may be, and what becomes of the rest of one that is refused."""

from __future__ import annotations

from collections.abc import Mapping

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http import problems
from app.http.problems import ProblemError

LINGER_SECONDS = 5.0
"""How long the rest of a refused upload is read and dropped, so that its sender gets to see the answer."""


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
