"""Which files of a bundle are missing from a folder, and how one is written: checked, then put in place at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Lock
from types import TracebackType
from typing import BinaryIO, Self
from uuid import uuid4

import httpx

from stdo.bundle.manifest import FileEntry
from stdo.bundle.manifest_reader import MANIFEST_NAME, parse_manifest
from stdo.errors import InvalidManifestError, NotAManifestError
from stdo.service.api_calls import FileRest
from stdo.service.api_errors import BundleFolderError, DownloadMismatchError, ServiceUnreachableError

TransferProgress = Callable[[int, int], None]
"""Called with (bytes done, bytes in total), never from two threads at once. An upload that is sent anew counts anew."""
PARALLEL_DOWNLOADS = 4
_HASHED_BYTES = 1 << 20
_MISMATCH_ADVICE = "Fetch again; if it stays so, the bundle on the service is damaged."


class FetchInterruptedError(Exception):
    """Another file of the same fetch failed, or the user gave up."""


class Fetch:
    """The download of one bundle into a folder. The manifest is written last: where it is, all is."""

    def __init__(
        self, manifest_bytes: bytes, folder: Path, on_progress: TransferProgress | None, *, reports: bool = False
    ) -> None:
        """`reports` takes the files that no decoder needs, too."""
        self._manifest_bytes = manifest_bytes
        self._manifest = parse_manifest(manifest_bytes)
        self._files = self._manifest.all_files() if reports else self._manifest.delivered_files()
        self.folder = folder
        self._on_progress = on_progress
        self._lock = Lock()
        self._stopped = Event()
        self._parts: set[Path] = set()
        self._done = 0
        self._total = sum(entry.byte_count for entry in self._files)

    def missing_files(self) -> list[FileEntry]:
        """The files that the folder lacks, by reading and hashing what is there. Raises BundleFolderError."""
        missing = []
        with _usable(self.folder):
            self._check_folder()
            for entry in self._files:
                if self._is_there(entry):
                    self.count(entry.byte_count)
                else:
                    missing.append(entry)
        return missing

    def writer(self, entry: FileEntry) -> FileWriter:
        """Takes the bytes of one missing file."""
        return FileWriter(self, entry)

    def open_part(self, part: Path) -> BinaryIO:
        """A file that `stop` removes. Raises FetchInterruptedError after it, BundleFolderError."""
        with self._lock, _usable(part.parent):
            self.check_stopped()
            part.parent.mkdir(parents=True, exist_ok=True)
            file = part.open("xb")
            self._parts.add(part)
        return file

    def count(self, byte_count: int) -> None:
        """Counts bytes that came, negative ones where a file has to begin anew. Raises FetchInterruptedError."""
        self.check_stopped()
        with self._lock:
            self._done += byte_count
            if self._on_progress is not None:
                self._on_progress(self._done, self._total)

    def check_stopped(self) -> None:
        """Raises FetchInterruptedError after `stop`."""
        if self._stopped.is_set():
            raise FetchInterruptedError

    def stop(self) -> None:
        """Removes what is unfinished, and ends the downloads of all threads at their next bytes."""
        self._stopped.set()
        with self._lock:
            for part in self._parts:
                part.unlink(missing_ok=True)

    def pause(self, seconds: float) -> None:
        """Waits before another try. Raises FetchInterruptedError after `stop`, at once."""
        if self._stopped.wait(seconds):
            raise FetchInterruptedError

    def finish(self) -> Path:
        """Puts the manifest in place, all files being there."""
        target = self.folder / MANIFEST_NAME
        part = _part_path(target)
        with _usable(self.folder):
            part.write_bytes(self._manifest_bytes)
            part.replace(target)
        return self.folder

    def _check_folder(self) -> None:
        there = self.folder / MANIFEST_NAME
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            if there.exists() and parse_manifest(there.read_bytes()).bundle_id != self._manifest.bundle_id:
                raise BundleFolderError(f"{self.folder} holds another bundle: choose another folder.")
        except (NotAManifestError, InvalidManifestError) as error:
            raise BundleFolderError(f"{there} is there and no manifest: choose another folder.") from error

    def _is_there(self, entry: FileEntry) -> bool:
        path = self.folder / entry.path
        if not path.is_file() or path.stat().st_size != entry.byte_count:
            return False
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while data := file.read(_HASHED_BYTES):
                self.check_stopped()
                digest.update(data)
        return digest.hexdigest() == entry.sha256


class FileWriter:
    """Writes beside the file's place and renames once size and hash are right, so that no broken file is ever there.

    A download that breaks off goes on where it broke, as long as the server says that it still has the same file.
    """

    def __init__(self, fetch: Fetch, entry: FileEntry) -> None:
        self._fetch = fetch
        self._entry = entry
        self._target = fetch.folder / entry.path
        self._part = _part_path(self._target)
        self._hash = hashlib.sha256()
        self._byte_count = 0
        self._furthest = 0
        self._etag: str | None = None

    def __enter__(self) -> Self:
        self._file = self._fetch.open_part(self._part)
        return self

    @property
    def rest(self) -> FileRest | None:
        """What to ask for: the rest of the file, or None for all of it."""
        if self._byte_count == 0 or self._etag is None:
            return None
        return FileRest(offset=self._byte_count, etag=self._etag)

    def begin(self, response: httpx.Response) -> None:
        """Prepares for the bytes of an answer. Raises ServiceUnreachableError for one that doesn't fit: ask again."""
        etag = _strong_etag(response)
        is_part = response.status_code == httpx.codes.PARTIAL_CONTENT
        if is_part and self.rest is not None and etag == self._etag and _first_byte(response) == self._byte_count:
            return
        self._begin_anew()
        if response.status_code != httpx.codes.OK:
            raise ServiceUnreachableError(
                f"{self._entry.path} can't be fetched from where the download broke off "
                f"(HTTP {response.status_code}). Fetch it from its beginning."
            )
        self._etag = etag

    def write(self, data: bytes) -> bool:
        """Takes the next bytes; whether they reach further than any before. Raises DownloadMismatchError as soon as
        there are too many."""
        self._fetch.check_stopped()
        if self._byte_count + len(data) > self._entry.byte_count:
            raise DownloadMismatchError(f"{self._entry.path} is longer than the manifest says. {_MISMATCH_ADVICE}")
        with _usable(self._target.parent):
            self._file.write(data)
        self._hash.update(data)
        self._byte_count += len(data)
        self._fetch.count(len(data))
        is_new = self._byte_count > self._furthest
        self._furthest = max(self._byte_count, self._furthest)
        return is_new

    def finish(self) -> None:
        """Puts the file in its place. Raises DownloadMismatchError."""
        with _usable(self._target.parent):
            self._file.close()
        if self._byte_count != self._entry.byte_count or self._hash.hexdigest() != self._entry.sha256:
            raise DownloadMismatchError(f"{self._entry.path} differs from what the manifest says. {_MISMATCH_ADVICE}")
        self._fetch.check_stopped()
        with _usable(self._target.parent):
            self._part.replace(self._target)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(OSError):  # Closing tries once more to write what a full disk did not take.
            self._file.close()
        self._part.unlink(missing_ok=True)

    def _begin_anew(self) -> None:
        self._fetch.count(-self._byte_count)
        self._byte_count = 0
        self._etag = None
        self._hash = hashlib.sha256()
        with _usable(self._target.parent):
            self._file.seek(0)
            self._file.truncate()


def _strong_etag(response: httpx.Response) -> str | None:
    """What tells the server's file from any other by every byte; None where bytes can't be counted on."""
    etag: str | None = response.headers.get("ETag")
    is_coded = response.headers.get("Content-Encoding", "identity") != "identity"
    return None if etag is None or etag.startswith("W/") or is_coded else etag


def _first_byte(response: httpx.Response) -> int | None:
    """Where the bytes of a 206 lie in the file: 100 for `bytes 100-199/200`."""
    unit, _, place = response.headers.get("Content-Range", "").partition(" ")
    first = place.partition("-")[0]
    return int(first) if unit == "bytes" and first.isdecimal() else None


@contextmanager
def _usable(folder: Path) -> Iterator[None]:
    """Raises BundleFolderError for what the file system refuses."""
    try:
        yield
    except OSError as error:
        raise BundleFolderError(f"{folder} can't be used: {error.strerror}. Choose another folder.") from error


def _part_path(target: Path) -> Path:
    """A name beside the target that no other fetch uses."""
    return target.with_name(f".{target.name}.{uuid4().hex}.part")
