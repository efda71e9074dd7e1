"""The numbers and names that a manifest is made of, with the bounds that docs/FORMAT.md sets."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

LARGEST_RATIONAL_PART = 2**31 - 1
"""Of a numerator or denominator: what FFmpeg's and most other rationals hold."""
LONGEST_SECONDS = 1e7
"""Of any duration: 115 days."""
MOST_SEGMENTS = 1 << 20
"""Keeps the segment table below 105 MB. Segments of five seconds reach it after two months."""
LARGEST_HEADER_BYTES = 1 << 20
"""Of a base stream: a real one has one or two kilobytes."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
RelativePath = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$", max_length=255),
]
ByteCount = Annotated[int, Field(ge=0, lt=2**53)]
PictureSize = Annotated[int, Field(gt=0, le=16_384)]
FrameCount = Annotated[int, Field(gt=0, lt=2**31)]
Seconds = Annotated[float, Field(gt=0, le=LONGEST_SECONDS)]
RationalPart = Annotated[int, Field(gt=0, le=LARGEST_RATIONAL_PART)]
SegmentCount = Annotated[int, Field(gt=0, le=MOST_SEGMENTS)]
HeaderByteCount = Annotated[int, Field(gt=0, le=LARGEST_HEADER_BYTES)]
