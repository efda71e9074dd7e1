"""What both versions of the object store agree on: keys, content types, and what is known of an object.

Keys are plain relative paths that the service made itself (`videos/<id>/source`, `bundles/<id>/<attempt>/...`); a
caller's file name is never part of one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from core.errors import InvalidObjectKeyError

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_CONTENT_TYPES = {
    ".json": "application/json",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".mp4": "video/mp4",
}


@dataclass(frozen=True, kw_only=True)
class ObjectInfo:
    """What the store knows of an object without reading it."""

    byte_count: int
    etag: str
    """Changes whenever the object's bytes do. Without quotes."""
    content_type: str


def content_type_of(key: str) -> str:
    """The content type that a key's suffix stands for."""
    return _CONTENT_TYPES.get(PurePosixPath(key).suffix, "application/octet-stream")


def checked_key(key: str) -> str:
    """The key itself. Raises InvalidObjectKeyError for anything but plain words between single slashes."""
    if not _KEY.fullmatch(key):
        raise InvalidObjectKeyError(key)
    return key


def checked_prefix(prefix: str) -> str:
    """The prefix itself. The slash at its end keeps `jobs/12/` from meaning `jobs/123` too."""
    if not prefix.endswith("/"):
        raise InvalidObjectKeyError(prefix)
    checked_key(prefix.removesuffix("/"))
    return prefix
