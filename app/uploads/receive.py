"""Receive a video: to a file on disk, hashed on the way, in flat memory, and gone again whatever happens."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import anyio
from anyio import to_thread
from fastapi import Request

from app.http import problems
from app.http.problems import ProblemError, invalid_field
from app.uploads.multipart_form import FILE_PART, VideoForm, boundary_of
from core.settings import Settings

WRITE_BYTES = 1024 * 1024
"""Written and hashed at a time, in a thread, so that a slow disk holds up nobody else."""

IDLE_SECONDS = 60.0
"""An upload that sends nothing for so long is given up."""

FORM_BYTES = 2 * 1024 * 1024
"""What a form may have around its file: fields and boundaries."""

STALE_SECONDS = 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A form that was received whole."""

    path: Path
    file_name: str
    """As the sender calls it: text to show, never a path."""
    byte_count: int
    sha256: str
    fields: Mapping[str, str]


def uploads_dir(settings: Settings) -> Path:
    """Where uploads lie while they come in."""
    return settings.scratch_dir / "uploads"


def remove_stale_uploads(settings: Settings, *, older_than_seconds: float = STALE_SECONDS) -> None:
    """Delete what a killed server has left behind."""
    for path in uploads_dir(settings).glob("*"):
        # Server processes that start at the same time do this at the same time.
        with suppress(FileNotFoundError):
            _remove_if_older(path, older_than_seconds)


def _remove_if_older(path: Path, seconds: float) -> None:
    if time.time() - path.stat().st_mtime >= seconds:
        path.unlink(missing_ok=True)


@asynccontextmanager
async def receive_upload(
    request: Request,
    settings: Settings,
    *,
    field_names: Sequence[str] = (),
    check: Callable[[Mapping[str, str]], None] = lambda _: None,
) -> AsyncIterator[Upload]:
    """The request's form, with its file on disk until the block ends.

    Raises ProblemError for a form that is malformed, too large, empty, or has other parts than `file` and
    `field_names`, or text fields before the file that `check` refuses;
    starlette.requests.ClientDisconnect where the sender goes away.
    """
    boundary = boundary_of(request.headers.get("content-type"))
    folder = uploads_dir(settings)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / uuid4().hex
    try:
        with path.open("wb") as file:
            received = _HashedFile(file, max_bytes=settings.max_upload_bytes)
            form = VideoForm(boundary, field_names=field_names, write=received.append, check=check)
            await _receive(request, form, received)
        fields = form.finish()
        if not received.byte_count:
            raise invalid_field(FILE_PART, "empty: the file has no bytes")
        assert form.file_name is not None
        yield Upload(
            path=path,
            file_name=form.file_name,
            byte_count=received.byte_count,
            sha256=received.sha256.hexdigest(),
            fields=fields,
        )
    finally:
        path.unlink(missing_ok=True)


async def _receive(request: Request, form: VideoForm, received: _HashedFile) -> None:
    pieces = aiter(request.stream())
    while True:
        try:
            with anyio.fail_after(IDLE_SECONDS):
                piece = await anext(pieces, None)
        except TimeoutError:
            detail = f"Nothing came for {IDLE_SECONDS:.0f} seconds. Send the file again."
            raise ProblemError(problems.UPLOAD_STALLED, detail, headers={"Connection": "close"}) from None
        if piece is None:
            break
        form.feed(piece)
        if len(received.pending) >= WRITE_BYTES:
            await to_thread.run_sync(received.flush)
    await to_thread.run_sync(received.flush)


class _HashedFile:
    """Counts, hashes and writes bytes in order."""

    def __init__(self, file: BinaryIO, *, max_bytes: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self.pending = bytearray()
        self.byte_count = 0
        self.sha256 = hashlib.sha256()

    def append(self, data: bytes) -> None:
        """Take bytes into memory. Raises ProblemError where the file has become too large."""
        self.byte_count += len(data)
        if self.byte_count > self._max_bytes:
            detail = f"The file may have at most {self._max_bytes} bytes."
            raise ProblemError(problems.CONTENT_TOO_LARGE, detail)
        self.pending += data

    def flush(self) -> None:
        """Hash and write what is in memory."""
        self.sha256.update(self.pending)
        self._file.write(self.pending)
        self.pending.clear()
