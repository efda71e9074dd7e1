"""Which files of a bundle are missing from a folder, and how one is written: checked, then put in place at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Lock
from types import TracebackType
from typing import Self
from uuid import uuid4

from stdo.bundle.manifest import FileEntry
from stdo.bundle.manifest_reader import MANIFEST_NAME, parse_manifest
from stdo.errors import InvalidManifestError, NotAManifestError
from stdo.service.api_errors import BundleFolderError, DownloadMismatchError

TransferProgress = Callable[[int, int], None]
"""Called with (bytes done, bytes in total), never from two threads at once."""


class FetchInterruptedError(Exception):
    """Another file of the same fetch failed, or the user gave up."""


class Fetch:
    """The download of one bundle into a folder. The manifest is written last: where it is, all is."""

    def __init__(self, manifest_bytes: bytes, folder: Path, on_progress: TransferProgress | None) -> None:
        self._manifest_bytes = manifest_bytes
        self._manifest = parse_manifest(manifest_bytes)
        self.folder = folder
        self._on_progress = on_progress
        self._lock = Lock()
        self._stopped = Event()
        self._done = 0
        self._total = sum(entry.byte_count for entry in self._manifest.all_files())

    def missing_files(self) -> list[FileEntry]:
        """The files that the folder lacks, by reading and hashing what is there. Raises BundleFolderError."""
        missing = []
        with _usable(self.folder):
            self._check_folder()
            for entry in self._manifest.all_files():
                if matches(self.folder / entry.path, entry):
                    self.advance(entry.byte_count)
                else:
                    missing.append(entry)
        return missing

    def writer(self, entry: FileEntry) -> FileWriter:
        """Takes the bytes of one missing file."""
        return FileWriter(self, entry)

    def advance(self, byte_count: int) -> None:
        """Counts bytes that arrived. Raises FetchInterruptedError after `stop`."""
        if self._stopped.is_set():
            raise FetchInterruptedError
        self.count(byte_count)

    def count(self, byte_count: int) -> None:
        """Counts bytes, negative ones where a download has to start again."""
        with self._lock:
            self._done += byte_count
            if self._on_progress is not None:
                self._on_progress(self._done, self._total)

    def stop(self) -> None:
        """Ends the downloads of all threads at their next bytes, and their pauses at once."""
        self._stopped.set()

    def pause(self, seconds: float) -> None:
        """Waits before another try. Raises FetchInterruptedError after `stop`."""
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


class FileWriter:
    """Writes beside the file's place and renames once size and hash are right, so that no broken file is ever there."""

    def __init__(self, fetch: Fetch, entry: FileEntry) -> None:
        self._fetch = fetch
        self._entry = entry
        self._target = fetch.folder / entry.path
        self._part = _part_path(self._target)
        self._hash = hashlib.sha256()
        self._byte_count = 0

    def __enter__(self) -> Self:
        with _usable(self._target.parent):
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._part.open("xb")
        return self

    def write(self, data: bytes) -> None:
        """Takes the next bytes. Raises DownloadMismatchError as soon as there are too many."""
        self._byte_count += len(data)
        if self._byte_count > self._entry.byte_count:
            raise DownloadMismatchError(f"{self._entry.path} is longer than the manifest says. {_MISMATCH_ADVICE}")
        self._hash.update(data)
        with _usable(self._target.parent):
            self._file.write(data)
        self._fetch.advance(len(data))

    def finish(self) -> None:
        """Puts the file in its place. Raises DownloadMismatchError."""
        with _usable(self._target.parent):
            self._file.close()
        if self._byte_count != self._entry.byte_count or self._hash.hexdigest() != self._entry.sha256:
            raise DownloadMismatchError(f"{self._entry.path} differs from what the manifest says. {_MISMATCH_ADVICE}")
        with _usable(self._target.parent):
            self._part.replace(self._target)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(OSError):  # Closing tries once more to write what a full disk did not take.
            self._file.close()
        self._part.unlink(missing_ok=True)
        if error is not None:
            self._fetch.count(-self._byte_count)


def matches(path: Path, entry: FileEntry) -> bool:
    """Whether the file is there and the one that the manifest promises."""
    if not path.is_file() or path.stat().st_size != entry.byte_count:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256


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


_MISMATCH_ADVICE = "Fetch again; if it stays so, the bundle on the service is damaged."
