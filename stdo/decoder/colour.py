"""The fixed-point factors between Y'CbCr and R'G'B' (docs/FORMAT.md, section 6)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from stdo.bundle.codecs import BitDepth
from stdo.bundle.geometry import peak
from stdo.bundle.manifest import Colour

FRACTION_BITS = 20
"""Fixed-point precision: the factors are multiples of 2**-20."""
CHROMA_BITS = 3
"""The conversions keep chroma in eighths of a level, so that its factors have three bits less."""

_LUMA_WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
"""Kr and Kb of each matrix (ITU-R BT.601, BT.709, BT.2020 non-constant luminance; H.273 codes 5 and 6, 1, 9)."""


@dataclass(frozen=True, kw_only=True)
class ColourFactors:
    """Fixed-point factors of one `Colour` at one bit depth, in both directions."""

    y_offset: int
    y_to_rgb: int
    cr_to_r: int
    cb_to_g: int
    cr_to_g: int
    cb_to_b: int
    rgb_to_y: tuple[int, int, int]
    rgb_to_cb: tuple[int, int, int]
    rgb_to_cr: tuple[int, int, int]


def colour_factors(colour: Colour, bit_depth: BitDepth) -> ColourFactors:
    """The factors of a colour's matrix and range."""
    return _factors(colour.matrix, colour.range, bit_depth)


@cache
def _factors(matrix: str, value_range: str, bit_depth: BitDepth) -> ColourFactors:
    kr, kb = _LUMA_WEIGHTS[matrix]
    kg = 1 - kr - kb
    luma_unit, chroma_unit = 1 << FRACTION_BITS, 1 << (FRACTION_BITS - CHROMA_BITS)
    luma_share, chroma_share = _shares_of_peak(value_range, bit_depth)
    chroma_gain = chroma_unit / chroma_share
    luma_red, luma_blue, luma_sum = (round(luma_share * luma_unit * weight) for weight in (kr, kb, 1))
    chroma_half = round(chroma_share * chroma_unit / 2)
    cb_red = -round(chroma_share * chroma_unit * kr / (2 * (1 - kb)))
    cr_blue = -round(chroma_share * chroma_unit * kb / (2 * (1 - kr)))
    return ColourFactors(
        y_offset=16 << (bit_depth - 8) if value_range == "limited" else 0,
        y_to_rgb=round(luma_unit / luma_share),
        cr_to_r=round(2 * (1 - kr) * chroma_gain),
        cb_to_g=-round(2 * (1 - kb) * kb / kg * chroma_gain),
        cr_to_g=-round(2 * (1 - kr) * kr / kg * chroma_gain),
        cb_to_b=round(2 * (1 - kb) * chroma_gain),
        # Green takes up the rounding, so that a grey picture has exactly neutral chroma and keeps its level.
        rgb_to_y=(luma_red, luma_sum - luma_red - luma_blue, luma_blue),
        rgb_to_cb=(cb_red, -chroma_half - cb_red, chroma_half),
        rgb_to_cr=(chroma_half, -chroma_half - cr_blue, cr_blue),
    )


def _shares_of_peak(value_range: str, bit_depth: BitDepth) -> tuple[float, float]:
    """The spans of Y and of U and V as shares of the largest sample."""
    if value_range == "full":
        return 1.0, 1.0
    luma_span, chroma_span = 219 << (bit_depth - 8), 224 << (bit_depth - 8)
    return luma_span / peak(bit_depth), chroma_span / peak(bit_depth)
