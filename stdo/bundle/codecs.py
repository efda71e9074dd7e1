"""The video codecs of a base stream: one table, from which settings, encoder, decoder and documents take their rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

CodecName = Literal["h264", "hevc", "av1", "vvc"]
BitDepth = Literal[8, 10]


@dataclass(frozen=True, kw_only=True)
class Codec:
    """One video codec."""

    title: str
    """As people write it."""
    encoder: str
    """FFmpeg's name of the encoder that the service uses."""
    decoders: tuple[str, ...]
    """FFmpeg's names of the decoders that a reader may open."""
    sample_entry: str
    """The code of its tracks in MP4 (ISO/IEC 14496-15; AV1 Codec ISO Media File Format Binding)."""
    bit_depths: tuple[BitDepth, ...]
    """That a base stream may have, the encoder's default for a source with 8 bits first."""
    carries_hdr: bool
    """Whether players show PQ and HLG in it."""
    places_key_frames: bool
    """Whether the encoder puts key frames where it is told to; else they come at even distances alone."""
    played_by: str
    """Which clients bring a decoder. For people."""


CODECS: Mapping[CodecName, Codec] = {
    "h264": Codec(
        title="H.264",
        encoder="libx264",
        decoders=("h264",),
        sample_entry="avc1",
        bit_depths=(8, 10),
        carries_hdr=False,
        places_key_frames=True,
        played_by="everything, in 8 bits; in 10 bits programs with FFmpeg alone",
    ),
    "hevc": Codec(
        title="HEVC",
        encoder="libx265",
        decoders=("hevc",),
        sample_entry="hvc1",
        bit_depths=(8, 10),
        carries_hdr=True,
        places_key_frames=True,
        played_by="Apple's devices, most televisions and phones, browsers on machines with a hardware decoder",
    ),
    "av1": Codec(
        title="AV1",
        encoder="libsvtav1",
        decoders=("libdav1d", "av1"),
        sample_entry="av01",
        bit_depths=(10, 8),
        carries_hdr=True,
        places_key_frames=True,
        played_by="Chromium and Firefox everywhere, recent phones and televisions; Safari with a hardware decoder",
    ),
    "vvc": Codec(
        title="VVC",
        encoder="libvvenc",
        decoders=("vvc",),
        sample_entry="vvc1",
        bit_depths=(10,),
        carries_hdr=True,
        places_key_frames=False,
        played_by="no browser: apps that bring a decoder",
    ),
}
