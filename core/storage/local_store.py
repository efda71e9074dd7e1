"""The object store in a folder, for embedded mode."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import ObjectNotFoundError, ObjectStoreUnavailableError
from core.storage.stored_objects import ObjectInfo, checked_key, checked_prefix, content_type_of

PARTIAL_PREFIX = "partial-"
ABANDONED_AFTER_SECONDS = 3600.0
"""An incoming file that nobody has written to for so long was left by a process that died."""

_log = logging.getLogger(__name__)


class LocalObjectStore:
    """Objects as files below a folder."""

    def __init__(self, folder: Path) -> None:
        self._objects = folder.absolute() / "files"
        self._incoming = folder.absolute() / "incoming"
        self._objects.mkdir(parents=True, exist_ok=True)
        self._incoming.mkdir(parents=True, exist_ok=True)

    def put_file(self, key: str, path: Path) -> None:
        """See ObjectStore."""
        target = self._path(key)
        # Here, and not at the start of a process: what a power cut has left is young then.
        _remove_abandoned(self._incoming)
        with _whole_file(self._incoming) as partial:
            shutil.copyfile(path, partial)
            _sync(partial)
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(target)

    def get_file(self, key: str, path: Path) -> None:
        """See ObjectStore. A copy, never a link: what a task does to its input must not reach the store."""
        source = self._path(key)
        with _whole_file(path.parent) as partial:
            try:
                shutil.copyfile(source, partial)
            except (FileNotFoundError, NotADirectoryError):
                raise ObjectNotFoundError(key) from None
            partial.replace(path)

    def stat(self, key: str) -> ObjectInfo | None:
        """See ObjectStore."""
        try:
            status = self._path(key).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        # Every put makes a new file, so size, time and inode together change whenever the bytes may have.
        etag = f"{status.st_size:x}-{status.st_mtime_ns:x}-{status.st_ino:x}"
        return ObjectInfo(byte_count=status.st_size, etag=etag, content_type=content_type_of(key))

    def read(self, key: str) -> bytes:
        """See ObjectStore."""
        return self.local_path(key).read_bytes()

    def local_path(self, key: str) -> Path:
        """See ObjectStore."""
        path = self._path(key)
        if not path.is_file():
            raise ObjectNotFoundError(key)
        return path

    def list_prefix(self, prefix: str) -> list[str]:
        """See ObjectStore."""
        folder = self._folder(prefix)
        return sorted(path.relative_to(self._objects).as_posix() for path in folder.rglob("*") if path.is_file())

    def delete_prefix(self, prefix: str) -> None:
        """See ObjectStore."""
        folder = self._folder(prefix)
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            return

    def presigned_url(self, key: str, *, expires_seconds: int) -> str | None:  # noqa: ARG002 - the protocol's shape.
        """See ObjectStore. A folder has no address: the API serves its files itself."""
        checked_key(key)
        return None

    def check(self) -> None:
        """See ObjectStore."""
        if not os.access(self._objects, os.W_OK):
            raise ObjectStoreUnavailableError(f"The folder {self._objects} can't be written. Check STDO_DATA_DIR.")

    def _path(self, key: str) -> Path:
        return self._objects / checked_key(key)

    def _folder(self, prefix: str) -> Path:
        return self._objects / checked_prefix(prefix)


@contextmanager
def _whole_file(folder: Path) -> Iterator[Path]:
    """A file to fill and then rename; gone at the end if it was not renamed."""
    handle, name = tempfile.mkstemp(dir=folder, prefix=PARTIAL_PREFIX)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def _remove_abandoned(folder: Path) -> None:
    for partial in folder.glob(f"{PARTIAL_PREFIX}*"):
        try:
            if time.time() - partial.stat().st_mtime > ABANDONED_AFTER_SECONDS:
                partial.unlink()
                _log.info("removed the abandoned file %s", partial)
        except FileNotFoundError:
            continue  # It was finished, or another process was faster.
        except OSError:
            _log.warning("the abandoned file %s could not be removed", partial, exc_info=True)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
