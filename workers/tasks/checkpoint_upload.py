"""Keep a training run's newest checkpoint in the object store, so that any worker can resume it."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Self

from core.errors import ServiceError
from core.storage.object_store import ObjectStore
from workers.sandbox.stop_signal import StopReason, StopSignal

LOOK_SECONDS = 1.0
UPLOAD_INTERVAL_SECONDS = 20.0
"""Shortest distance of two uploads while the training runs."""

logger = logging.getLogger(__name__)


class CheckpointKeeper:
    """A thread that uploads `path` under `key` whenever it has changed, while the `with` block runs.

    Where the block ends with an error, the last checkpoint is uploaded at once, for whoever takes the part next; not
    so if nobody will (the job was cancelled), or somebody already has (the lease was lost).
    """

    def __init__(self, store: ObjectStore, key: str, path: Path, stop: StopSignal) -> None:
        self._store = store
        self._key = key
        self._path = path
        self._stop = stop
        self._kept = self._version()
        self._ended = Event()
        self._thread = Thread(target=self._keep, name=f"checkpoint-{key}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if error is not None and self._stop.reason in (None, StopReason.SHUTDOWN):
            self._upload()

    def _keep(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            if self._upload():
                self._ended.wait(UPLOAD_INTERVAL_SECONDS)

    def _upload(self) -> bool:
        """Upload the checkpoint if it is new; whether there was one."""
        version = self._version()
        if version is None or version == self._kept:
            return False
        # The part replaces the file at any moment. A link holds on to one version of it during the upload.
        snapshot = self._path.with_suffix(".uploading")
        try:
            os.link(self._path, snapshot)
            self._store.put_file(self._key, snapshot)
        except (ServiceError, OSError):
            # Training goes on without: the next checkpoint is tried again.
            logger.warning("the checkpoint %s could not be uploaded", self._key, exc_info=True)
            return True
        finally:
            snapshot.unlink(missing_ok=True)
        self._kept = version
        return True

    def _version(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns
