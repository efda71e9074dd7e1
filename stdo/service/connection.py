"""What both clients check before they talk to the service: address, key, and the file to send."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

import httpx

from stdo.service.api_errors import InvalidServiceUrlError, NoBundleError, UnreadableFileError
from stdo.service.download import TransferProgress
from stdo.service.resources import Job


class HttpOptions(TypedDict):
    """Arguments of httpx.Client and httpx.AsyncClient."""

    base_url: httpx.URL
    headers: dict[str, str]
    timeout: httpx.Timeout


def http_options(base_url: str, api_key: str | None, timeout_seconds: float) -> HttpOptions:
    """Raises InvalidServiceUrlError for what can't be an address of the service, or a key."""
    return HttpOptions(
        base_url=_service_url(base_url),
        headers=authorization(api_key),
        timeout=httpx.Timeout(timeout_seconds, connect=min(timeout_seconds, 10.0)),
    )


def authorization(api_key: str | None) -> dict[str, str]:
    """The header that carries a key. Raises InvalidServiceUrlError for what can't be one."""
    if api_key is None:
        return {}
    if not api_key or not api_key.isascii() or any(character.isspace() for character in api_key):
        raise InvalidServiceUrlError("The API key is empty or has characters that no key has. Copy it again.")
    return {"Authorization": f"Bearer {api_key}"}


@contextmanager
def open_upload(path: Path, on_progress: TransferProgress | None) -> Iterator[io.FileIO]:
    """A video, opened for sending, perhaps several times. Raises UnreadableFileError."""
    try:
        file = _CountedFile(path, on_progress)
    except OSError as error:
        raise UnreadableFileError(f"{path} can't be read: {error.strerror}.") from error
    with file:
        if not file.seekable():
            raise UnreadableFileError(f"{path} is a pipe or a device. Store the video in a file first.")
        yield file


def check_bundle(job: Job) -> None:
    """Raises NoBundleError."""
    if job.bundle is not None:
        return
    if job.failure is not None:
        raise NoBundleError(f"Job {job.id} failed and has no bundle. {job.failure.title}: {job.failure.detail}")
    advice = "It was cancelled." if job.state == "cancelled" else "Wait until it has succeeded."
    raise NoBundleError(f"Job {job.id} is {job.state} and has no bundle. {advice}")


class _CountedFile(io.FileIO):
    """Tells how much of it was read. httpx reads it in pieces, so memory use stays flat."""

    def __init__(self, path: Path, on_progress: TransferProgress | None) -> None:
        super().__init__(path, "rb")
        self._on_progress = on_progress
        self._total = path.stat().st_size
        self._done = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size) or b""
        self._done += len(data)
        if self._on_progress is not None and data:
            self._on_progress(self._done, self._total)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._done = super().seek(offset, whence)
        return self._done


def _service_url(address: str) -> httpx.URL:
    advice = "Give the service's address as in http://127.0.0.1:8000."
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL as error:
        raise InvalidServiceUrlError(f"{address!r} is not an address ({error}). {advice}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidServiceUrlError(f"{address!r} is not an http or https address. {advice}")
    return url
