"""Where the files of a bundle come from: a folder, or a URL. Both hand out verified local files only."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import httpx

from stdo.bundle.manifest import FileEntry
from stdo.bundle.manifest_reader import MANIFEST_MAX_BYTES, MANIFEST_NAME
from stdo.errors import BundleNotFoundError, DamagedBundleError, TransferError

_TIMEOUT_SECONDS = 30.0


class BundleFiles(Protocol):
    """A place that holds one bundle."""

    def manifest_bytes(self) -> bytes:
        """The manifest as it lies there."""
        ...

    def verified_path(self, file: FileEntry) -> Path:
        """A local file whose size and hash were compared with the manifest's just now."""
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
        path = self._folder / file.path
        # The manifest's paths can't leave the folder; a link inside of it could.
        if not path.resolve().is_relative_to(self._folder.resolve()):
            raise DamagedBundleError(f"{file.path} is a link that leads out of the bundle. Fetch the bundle again.")
        try:
            byte_count = path.stat().st_size
            same = byte_count == file.byte_count and _sha256(path) == file.sha256
        except OSError as error:
            raise DamagedBundleError(
                f"{file.path} of the bundle can't be read ({error.strerror}). Fetch the bundle again."
            ) from error
        if not same:
            raise _damaged(file)
        return path

    def close(self) -> None:
        """See BundleFiles."""


class HttpFiles:
    """A bundle behind a URL. Its files are fetched when they are first asked for and kept by their hash."""

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
            for group in response.iter_bytes():
                data += group
                if len(data) > MANIFEST_MAX_BYTES:
                    break
            return bytes(data)

    def verified_path(self, file: FileEntry) -> Path:
        """See BundleFiles. Raises DamagedBundleError, TransferError."""
        try:
            return self._cached_path(file)
        except OSError as error:
            raise TransferError(
                f"{file.path} of the bundle can't be kept in {self._folder} ({error.strerror}). "
                "Make room there, or give another cache folder."
            ) from error

    def _cached_path(self, file: FileEntry) -> Path:
        target = self._folder / file.sha256
        if target.is_file() and _sha256(target) == file.sha256:
            return target
        url = str(httpx.URL(self._url).join(file.path))
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix="part-", delete=False) as part:
            part_path = Path(part.name)
        try:
            self._download(url, file, part_path)
            part_path.replace(target)
        finally:
            part_path.unlink(missing_ok=True)
        return target

    def close(self) -> None:
        """See BundleFiles."""
        if self._cleaner is not None:
            self._cleaner()
        if self._owns_http:
            self._http.close()

    def _download(self, url: str, file: FileEntry, path: Path) -> None:
        digest, byte_count = hashlib.sha256(), 0
        with self._get(url) as response, path.open("wb") as part:
            if response.status_code in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
                raise DamagedBundleError(f"{file.path} of the bundle is not at {url}.")
            _check_status(response, url)
            for group in response.iter_bytes():
                byte_count += len(group)
                if byte_count > file.byte_count:
                    raise _damaged(file)
                digest.update(group)
                part.write(group)
        if byte_count != file.byte_count or digest.hexdigest() != file.sha256:
            raise _damaged(file)

    @contextmanager
    def _get(self, url: str) -> Iterator[httpx.Response]:
        try:
            with self._http.stream("GET", url, follow_redirects=True) as response:
                yield response
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TransferError(f"{url} can't be fetched: {error}. Check the address, or try again.") from error


def _names_manifest(url: str) -> bool:
    """Whether a URL is a manifest's, with or without a query, rather than a folder's."""
    return url.partition("?")[0].endswith(f"/{MANIFEST_NAME}")


def _check_status(response: httpx.Response, url: str) -> None:
    if response.status_code != httpx.codes.OK:
        raise TransferError(f"{url} can't be fetched: the server answers {response.status_code}.")


def _damaged(file: FileEntry) -> DamagedBundleError:
    return DamagedBundleError(f"{file.path} differs from what the manifest promises. Fetch the bundle again.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
