"""Answers that a caller can hold against what it has already: entity tags and ranges (RFC 9110, sections 13, 14)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Message, Receive, Scope, Send

from app.http import problems
from app.http.problems import ProblemError

REVALIDATE = "private, no-cache"
FOR_EVERYONE_FOREVER = "public, max-age=31536000, immutable"
FOR_ITS_OWNER_FOREVER = "private, max-age=31536000, immutable"

_TAG = re.compile(r'(?:W/)?("[^"]*")')
_NOT_MODIFIED_HEADERS = ("ETag", "Cache-Control", "Retry-After")


def is_not_modified(headers: Headers, etag: str) -> bool:
    """Whether If-None-Match says that the caller has this very version (weak comparison)."""
    given = headers.get("if-none-match")
    if given is None:
        return False
    return given.strip() == "*" or etag in _TAG.findall(given)


def not_modified(headers: Mapping[str, str]) -> Response:
    """The answer to a caller that has it; `headers` are those that the full answer would have."""
    return Response(status_code=304, headers={name: headers[name] for name in _NOT_MODIFIED_HEADERS if name in headers})


def represent(request: Request, resource: BaseModel, *, retry_after_seconds: int | None = None) -> Response:
    """The resource with its entity tag, or 304 where the caller has it.

    `retry_after_seconds`: when it is worth asking again, where the resource is still changing.
    """
    content = resource.model_dump_json().encode()
    headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"', "Cache-Control": REVALIDATE}
    if retry_after_seconds is not None:
        headers["Retry-After"] = str(retry_after_seconds)
    if is_not_modified(request.headers, headers["ETag"]):
        return not_modified(headers)
    return Response(content, media_type="application/json", headers=headers)


class RangedFile(FileResponse):
    """A file, or the parts of it that Range asks for.

    Starlette does the work. What it refuses in plain text is told as the standard wants it: a range outside of the file
    as a problem, and one that can't be read is ignored.
    """

    def __init__(self, path: Path, *, media_type: str, headers: Mapping[str, str]) -> None:
        """`headers` has the file's own ETag, which If-Range is compared with."""
        super().__init__(path, media_type=media_type, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. Raises ProblemError, before anything is sent."""

        async def send_checked(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 416:
                size = Headers(raw=message["headers"])["content-range"].rpartition("/")[2]
                detail = f"The file has {size} bytes."
                raise ProblemError(problems.RANGE_NOT_SATISFIABLE, detail, headers={"Content-Range": f"bytes */{size}"})
            if message["type"] == "http.response.start" and message["status"] == 400:
                raise _UnreadableRangeError
            await send(message)

        try:
            await super().__call__(scope, receive, send_checked)
        except _UnreadableRangeError:
            headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
            await super().__call__({**scope, "headers": headers}, receive, send)


class _UnreadableRangeError(ValueError):
    """Range names no bytes."""
