"""Files as a store sends them, with the ways in which that goes wrong."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse


@dataclass(frozen=True, kw_only=True)
class FileAnswer:
    """How one request for a file is answered."""

    etag: str = '"first"'
    cut_after: int | None = None
    """So many bytes of the body come; then the connection breaks."""
    silent_seconds: float = 0.0
    """How long nothing comes before the connection breaks."""
    ignores_range: bool = False
    ignores_if_range: bool = False
    status: int | None = None
    """Of an answer without the file."""


class DroppedConnectionError(Exception):
    """Raised in the middle of an answer, so that uvicorn cuts the connection."""


def file_response(request: Request, data: bytes, answer: FileAnswer) -> Response:
    """A file, or the range of it that is asked for, as a store would answer."""
    if answer.status is not None:
        return PlainTextResponse("wrong", answer.status)
    asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
    fits = answer.ignores_if_range or request.headers.get("if-range", answer.etag) == answer.etag
    first = int(asked[1]) if asked and fits and not answer.ignores_range else 0
    headers = {"ETag": answer.etag, "Content-Length": str(len(data) - first)}
    if first:
        headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
    status = 206 if first else 200
    if answer.cut_after is None:
        return Response(data[first:], status, headers=headers)
    return StreamingResponse(cut(data[first:][: answer.cut_after], answer.silent_seconds), status, headers=headers)


async def cut(data: bytes, silent_seconds: float = 0.0) -> AsyncIterator[bytes]:
    """A body that breaks off."""
    yield data
    await asyncio.sleep(silent_seconds)
    raise DroppedConnectionError
