"""A restored frame, seen as R'G'B', as luma or as 4:2:0 planes."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from stdo.bundle.codecs import BitDepth
from stdo.bundle.geometry import Image
from stdo.bundle.manifest import Colour
from stdo.decoder.frames import Plane, YuvFrame, rgb_to_luma, rgb_to_yuv, yuv_to_rgb


@dataclass(frozen=True, kw_only=True, eq=False)
class RestoredFrame:
    """One frame at display size, made from R'G'B' or from planes; the other views are converted when asked for."""

    time: Fraction
    """Presentation time in seconds."""
    colour: Colour
    bit_depth: BitDepth
    """Of the samples of every view."""
    restored_rgb: Image | None = None
    """What an `rgb` network restored, (h, w, 3)."""
    restored_yuv: YuvFrame | None = None
    """What a `luma` or `yuv` network, or a plain filter, restored; or the frame as decoded."""

    def __post_init__(self) -> None:
        if (self.restored_rgb is None) == (self.restored_yuv is None):
            raise ValueError("a restored frame is made from either R'G'B' or planes")
        if self.restored_yuv is not None and self.restored_yuv.bit_depth != self.bit_depth:
            raise ValueError(f"planes of {self.restored_yuv.bit_depth} bits in a frame of {self.bit_depth}")

    @cached_property
    def rgb(self) -> Image:
        """(h, w, 3): uint8 at 8 bits, uint16 at 10."""
        if self.restored_rgb is not None:
            return self.restored_rgb
        return yuv_to_rgb(self.yuv, self.colour)

    @cached_property
    def yuv(self) -> YuvFrame:
        """Planes of (h, w) and twice (ceil(h / 2), ceil(w / 2))."""
        if self.restored_yuv is not None:
            return self.restored_yuv
        assert self.restored_rgb is not None
        return rgb_to_yuv(self.restored_rgb, self.colour, self.time, bit_depth=self.bit_depth)

    @cached_property
    def luma(self) -> Plane:
        """(h, w)"""
        if self.restored_rgb is not None:
            return rgb_to_luma(self.restored_rgb, self.colour, bit_depth=self.bit_depth)
        return self.yuv.y
