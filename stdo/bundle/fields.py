"""What manifest and ladder are made of: numbers and names with the bounds of docs/FORMAT.md, fractions, files."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

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


def _refuse_other_numbers(value: object) -> object:
    if isinstance(value, bool | float):
        raise PydanticCustomError("whole_number", "Input should be a whole number, written as one")
    return value


ONLY_WHOLE_NUMBERS = BeforeValidator(_refuse_other_numbers)
"""For a choice of whole numbers: pydantic takes `true` and 1.0 for 1 there, even where it is strict."""


class Frozen(BaseModel):
    """Base of every type that is written as JSON."""

    # Attribute docstrings become the descriptions of the JSON Schema.
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True, allow_inf_nan=False)


class Rational(Frozen):
    """An exact fraction, such as 30000/1001 frames per second."""

    numerator: RationalPart
    denominator: RationalPart

    @property
    def fraction(self) -> Fraction:
        """The same as a number."""
        return Fraction(self.numerator, self.denominator)

    @classmethod
    def of(cls, fraction: Fraction) -> Rational:
        """A fraction as it is written down. Raises pydantic.ValidationError where a part is out of range."""
        return cls(numerator=fraction.numerator, denominator=fraction.denominator)


class FileEntry(Frozen):
    """A file of the bundle, by its path relative to the manifest's folder."""

    path: RelativePath
    byte_count: ByteCount
    sha256: Sha256
