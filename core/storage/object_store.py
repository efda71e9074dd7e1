"""Where files live: one protocol, and its two versions by setting."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from core.settings import Settings
from core.storage.local_store import LocalObjectStore
from core.storage.s3_store import S3ObjectStore
from core.storage.stored_objects import ObjectInfo


class ObjectStore(Protocol):
    """A flat store of files. An object appears whole or not at all.

    Every method raises InvalidObjectKeyError for what is not a key (core.storage.stored_objects), and
    ObjectStoreUnavailableError where the store does not answer.
    """

    def put_file(self, key: str, path: Path) -> None:
        """Store a copy of a file, replacing what was there. Its content type follows from the key's suffix."""

    def get_file(self, key: str, path: Path) -> None:
        """Write a copy of an object to `path`, whose folder exists; nothing is left there where it fails.

        Raises ObjectNotFoundError.
        """

    def stat(self, key: str) -> ObjectInfo | None:
        """Size and ETag of an object, or None where there is none."""

    def read(self, key: str) -> bytes:
        """All bytes of a small object. Raises ObjectNotFoundError."""

    def local_path(self, key: str) -> Path | None:
        """Where the object lies as a file of this machine, to be read alone; None where the store is no folder.

        Raises ObjectNotFoundError.
        """

    def list_prefix(self, prefix: str) -> list[str]:
        """Keys below a prefix, which is a folder and ends with a slash; sorted."""

    def delete_prefix(self, prefix: str) -> None:
        """Delete everything below a prefix, which is a folder and ends with a slash. Nothing there is no error."""

    def presigned_url(self, key: str, *, expires_seconds: int) -> str | None:
        """A URL from which anyone can read the object for a while; None where the store has no address of its own."""

    def check(self) -> None:
        """Ask the store for an answer. Raises ObjectStoreUnavailableError."""


def make_object_store(settings: Settings) -> ObjectStore:
    """A bucket where deployed, a folder where embedded."""
    if settings.mode == "deployed":
        return S3ObjectStore(settings)
    return LocalObjectStore(settings.objects_dir)
