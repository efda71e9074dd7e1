"""Conditional and partial requests: entity tags and byte ranges (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from starlette.datastructures import Headers

_TAG = re.compile(r'(?:W/)?("[^"]*")')
_RANGE = re.compile(r"bytes=[ \t]*(\d{0,40})-(\d{0,40})[ \t]*", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, kw_only=True)
class ByteRange:
    """Bytes `first` to `last`, both included."""

    first: int
    last: int

    @property
    def byte_count(self) -> int:
        """How many."""
        return self.last - self.first + 1


class RangeNotSatisfiableError(ValueError):
    """The range lies wholly outside the file."""


def entity_tag(content: bytes) -> str:
    """A strong entity tag of a body."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def is_not_modified(headers: Headers, etag: str) -> bool:
    """Whether If-None-Match says that the caller has this very version (weak comparison)."""
    given = headers.get("if-none-match")
    if given is None:
        return False
    return given.strip() == "*" or etag in _TAG.findall(given)


def requested_range(headers: Headers, etag: str, byte_count: int) -> ByteRange | None:
    """The part of a file that the caller asks for; None for all of it.

    Several ranges, other units and what is no range at all are ignored, as the standard allows; so is a range whose
    If-Range names another version. Raises RangeNotSatisfiableError.
    """
    match = _RANGE.fullmatch(headers.get("range", "").strip())
    if match is None or headers.get("if-range", etag).strip() != etag:
        return None
    first_text, last_text = match.groups()
    if not first_text:
        return _suffix_range(last_text, byte_count)
    first = int(first_text)
    last = min(int(last_text), byte_count - 1) if last_text else byte_count - 1
    if last_text and int(last_text) < first:
        return None
    if first >= byte_count:
        raise RangeNotSatisfiableError
    return ByteRange(first=first, last=last)


def _suffix_range(length_text: str, byte_count: int) -> ByteRange | None:
    if not length_text:
        return None
    length = int(length_text)
    if length == 0 or byte_count == 0:
        raise RangeNotSatisfiableError
    return ByteRange(first=max(0, byte_count - length), last=byte_count - 1)
