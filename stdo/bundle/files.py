"""Where the files of a bundle come from: a folder, or a URL. Both hand out verified bytes and files only."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import httpx

from stdo.bundle.manifest import FileEntry
from stdo.bundle.manifest_reader import MANIFEST_MAX_BYTES, MANIFEST_NAME
from stdo.bundle.segments import ByteRange
from stdo.errors import BundleNotFoundError, DamagedBundleError, MissingFileError, TransferError

_TIMEOUT_SECONDS = 30.0
_PAUSES_SECONDS = (0.5, 1.0, 2.0)
"""Before a fetch whose connection broke off is tried once more: a film is thousands of requests."""


class BundleFiles(Protocol):
    """A place that holds one bundle."""

    def manifest_bytes(self) -> bytes:
        """The manifest as it lies there."""
        ...

    def verified_path(self, file: FileEntry) -> Path:
        """A local file whose size and hash were compared with the manifest's just now."""
        ...

    def verified_bytes(self, file: FileEntry, part: ByteRange) -> bytes:
        """Some bytes of a file, whose hash was compared with that of `part` just now. Nothing else is fetched."""
        ...

    def close(self) -> None:
        """Remove temporary files."""
        ...


class FolderFiles:
    """A bundle on disk."""

    def __init__(self, path: Path) -> None:
        """`path` is the bundle's folder, or its manifest."""
        self._folder = path.parent if path.name == MANIFEST_NAME else path

    def manifest_bytes(self) -> bytes:
        """See BundleFiles. Raises BundleNotFoundError."""
        try:
            with (self._folder / MANIFEST_NAME).open("rb") as file:
                # A byte more than allowed lets the parser see that there is too much.
                return file.read(MANIFEST_MAX_BYTES + 1)
        except OSError as error:
            raise BundleNotFoundError(
                f"There is no bundle in {self._folder}: {MANIFEST_NAME} can't be read ({error.strerror}). "
                "Give the folder of a bundle, or its URL."
            ) from error

    def verified_path(self, file: FileEntry) -> Path:
        """See BundleFiles. Raises DamagedBundleError."""
        path = self._path(file)
        try:
            same = path.stat().st_size == file.byte_count and file_sha256(path) == file.sha256
        except OSError as error:
            raise _unreadable(file, error) from error
        if not same:
            raise _damaged(file)
        return path

    def verified_bytes(self, file: FileEntry, part: ByteRange) -> bytes:
        """See BundleFiles. Raises DamagedBundleError."""
        path = self._path(file)
        try:
            data = _read_part(path, part)
        except OSError as error:
            raise _unreadable(file, error) from error
        if data is None:
            raise _damaged(file)
        return data

    def close(self) -> None:
        """See BundleFiles."""

    def _path(self, file: FileEntry) -> Path:
        path = self._folder / file.path
        # The manifest's paths can't leave the folder; a link inside of it could.
        if not path.resolve().is_relative_to(self._folder.resolve()):
            raise DamagedBundleError(f"{file.path} is a link that leads out of the bundle. Fetch the bundle again.")
        return path


class HttpFiles:
    """A bundle behind a URL. What is fetched of it, whole files or parts, is kept in a folder by its hash."""

    def __init__(self, url: str, *, cache_folder: Path | None, http: httpx.Client | None) -> None:
        """`url` is the bundle's folder, or its manifest."""
        self._url = url if _names_manifest(url) else f"{url.rstrip('/')}/{MANIFEST_NAME}"
        self._owns_http = http is None
        self._http = http or httpx.Client(timeout=_TIMEOUT_SECONDS)
        self._folder = cache_folder or Path(tempfile.mkdtemp(prefix="stdo-"))
        # Also where nobody closes the bundle, its temporary folder goes when it does.
        self._cleaner = (
            None if cache_folder else weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        )

    def manifest_bytes(self) -> bytes:
        """See BundleFiles. Raises BundleNotFoundError, TransferError."""
        with self._get(self._url) as response:
            if response.status_code in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
                raise BundleNotFoundError(f"There is no bundle at {self._url}. Check the address.")
            _check_status(response, self._url)
            data = bytearray()
            for piece in response.iter_bytes():
                data += piece
                if len(data) > MANIFEST_MAX_BYTES:
                    break
            return bytes(data)

    def verified_path(self, file: FileEntry) -> Path:
        """See BundleFiles. Raises DamagedBundleError, TransferError."""
        with self._keeping(file):
            target = self._folder / file.sha256
            if not (target.is_file() and file_sha256(target) == file.sha256):
                self._fetch(file, _whole(file))
            return target

    def verified_bytes(self, file: FileEntry, part: ByteRange) -> bytes:
        """See BundleFiles. Raises DamagedBundleError, TransferError."""
        with self._keeping(file):
            data = self._kept_bytes(file, part)
            if data is None:
                self._fetch(file, part)
                data = self._kept_bytes(file, part)
            if data is None:
                raise _damaged(file)
            return data

    def close(self) -> None:
        """See BundleFiles."""
        if self._cleaner is not None:
            self._cleaner()
        if self._owns_http:
            self._http.close()

    def _kept_bytes(self, file: FileEntry, part: ByteRange) -> bytes | None:
        """The bytes from the folder, where they are there and right: kept alone, or in the whole file."""
        alone, whole = self._folder / part.sha256, self._folder / file.sha256
        data = _read_part(alone, replace(part, offset=0)) if alone.is_file() else None
        if data is None and whole.is_file():
            data = _read_part(whole, part)
        return data

    def _fetch(self, file: FileEntry, part: ByteRange) -> None:
        """Fetch a part or a whole file, anew where the connection breaks off."""
        for pause_seconds in _PAUSES_SECONDS:
            try:
                self._fetch_once(file, part)
            except TransferError as error:
                if not isinstance(error.__cause__, httpx.TransportError):
                    raise
                time.sleep(pause_seconds)
            else:
                return
        self._fetch_once(file, part)

    def _fetch_once(self, file: FileEntry, part: ByteRange) -> None:
        """Fetch the part alone, or the whole file from a server that doesn't serve parts."""
        is_whole = part == _whole(file)
        with self._get_file(file, None if is_whole else part) as response:
            is_part = response.status_code == httpx.codes.PARTIAL_CONTENT
            self._keep(response, file, part if is_part else _whole(file))

    def _keep(self, response: httpx.Response, file: FileEntry, part: ByteRange) -> None:
        """Write a response's bytes into the folder, under their hash, if they are what was promised."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix="part-", delete=False) as target:
            target_path = Path(target.name)
            try:
                digest, byte_count = hashlib.sha256(), 0
                for piece in response.iter_bytes():
                    byte_count += len(piece)
                    if byte_count > part.byte_count:
                        raise _damaged(file)
                    digest.update(piece)
                    target.write(piece)
                if byte_count != part.byte_count or digest.hexdigest() != part.sha256:
                    raise _damaged(file)
                target.close()
                target_path.replace(self._folder / part.sha256)
            finally:
                target_path.unlink(missing_ok=True)

    @contextmanager
    def _get_file(self, file: FileEntry, part: ByteRange | None) -> Iterator[httpx.Response]:
        """A response with a file's bytes (status 200), or with those of the part asked for (206)."""
        url = str(httpx.URL(self._url).join(file.path))
        # Ranges count the bytes as stored, so that they must not come compressed.
        headers = {"Accept-Encoding": "identity"}
        if part is not None:
            headers["Range"] = f"bytes={part.offset}-{part.end - 1}"
        with self._get(url, headers) as response:
            if response.status_code in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
                raise MissingFileError(f"{file.path} of the bundle is not at {url}.")
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise _damaged(file)
            if part is None or response.status_code != httpx.codes.PARTIAL_CONTENT:
                _check_status(response, url)
            yield response

    @contextmanager
    def _get(self, url: str, headers: dict[str, str] | None = None) -> Iterator[httpx.Response]:
        try:
            with self._http.stream("GET", url, headers=headers, follow_redirects=True) as response:
                yield response
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TransferError(f"{url} can't be fetched: {error}. Check the address, or try again.") from error

    @contextmanager
    def _keeping(self, file: FileEntry) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TransferError(
                f"{file.path} of the bundle can't be kept in {self._folder} ({error.strerror}). "
                "Make room there, or give another cache folder."
            ) from error


def _names_manifest(url: str) -> bool:
    """Whether a URL is a manifest's, with or without a query, rather than a folder's."""
    return url.partition("?")[0].endswith(f"/{MANIFEST_NAME}")


def _check_status(response: httpx.Response, url: str) -> None:
    if response.status_code != httpx.codes.OK:
        raise TransferError(f"{url} can't be fetched: the server answers {response.status_code}.")


def _damaged(file: FileEntry) -> DamagedBundleError:
    return DamagedBundleError(f"{file.path} differs from what the manifest promises. Fetch the bundle again.")


def _unreadable(file: FileEntry, error: OSError) -> DamagedBundleError:
    kind = MissingFileError if isinstance(error, FileNotFoundError) else DamagedBundleError
    return kind(f"{file.path} of the bundle can't be read ({error.strerror}). Fetch the bundle again.")


def _whole(file: FileEntry) -> ByteRange:
    return ByteRange(offset=0, byte_count=file.byte_count, sha256=file.sha256)


def _read_part(path: Path, part: ByteRange) -> bytes | None:
    """A part of a local file; None where its bytes are not the promised ones."""
    with path.open("rb") as file:
        # A manifest may promise any size: no more memory is asked for than the file has bytes.
        if file.seek(0, os.SEEK_END) < part.end:
            return None
        file.seek(part.offset)
        data = file.read(part.byte_count)
    return data if hashlib.sha256(data).hexdigest() == part.sha256 else None


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal. The file is never in memory as a whole."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
