"""Code points of ITU-T H.273 (colour primaries, transfer characteristics, matrix), by FFmpeg's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stdo.bundle.manifest import Colour

PRIMARIES: Mapping[str, int] = {
    "bt709": 1,
    "bt470m": 4,
    "bt470bg": 5,
    "smpte170m": 6,
    "smpte240m": 7,
    "film": 8,
    "bt2020": 9,
    "smpte428": 10,
    "smpte431": 11,
    "smpte432": 12,
    "ebu3213": 22,
}
TRANSFERS: Mapping[str, int] = {
    "bt709": 1,
    "bt470m": 4,
    "bt470bg": 5,
    "smpte170m": 6,
    "smpte240m": 7,
    "linear": 8,
    "log100": 9,
    "log316": 10,
    "iec61966-2-4": 11,
    "bt1361e": 12,
    "iec61966-2-1": 13,
    "bt2020-10": 14,
    "bt2020-12": 15,
    "smpte2084": 16,
    "smpte428": 17,
    "arib-std-b67": 18,
}
HDR_TRANSFERS: Mapping[str, str] = {"smpte2084": "PQ", "arib-std-b67": "HLG"}
"""The transfer characteristics of HDR (ITU-R BT.2100), and what people call them."""
MATRICES: Mapping[str, int] = {"bt601": 6, "bt709": 1, "bt2020": 9}
UNSPECIFIED = 2
UNKNOWN = "unknown"
"""FFmpeg's name of what is unspecified."""


@dataclass(frozen=True, kw_only=True)
class ColourCodes:
    """A `Colour` as a video stream's header states it."""

    primaries: int
    transfer: int
    matrix: int
    is_full_range: bool


def colour_codes(colour: Colour) -> ColourCodes:
    """The code points of a colour; names that H.273 doesn't have are "unspecified"."""
    return ColourCodes(
        primaries=PRIMARIES.get(colour.primaries, UNSPECIFIED),
        transfer=TRANSFERS.get(colour.transfer, UNSPECIFIED),
        matrix=MATRICES[colour.matrix],
        is_full_range=colour.range == "full",
    )


def primaries_name(code: int) -> str:
    """FFmpeg's name of colour primaries; `unknown` where the code has none."""
    return next((name for name, number in PRIMARIES.items() if number == code), UNKNOWN)


def transfer_name(code: int) -> str:
    """FFmpeg's name of transfer characteristics; `unknown` where the code has none."""
    return next((name for name, number in TRANSFERS.items() if number == code), UNKNOWN)
