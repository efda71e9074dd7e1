"""How any video's pixel values become the 4:2:0 Y'CbCr of this service, with 8 or 10 bits, and what they then mean.

Colour codes are those of ITU-T H.273, names FFmpeg's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import av

from stdo.bundle.codecs import BitDepth
from stdo.bundle.h273 import HDR_TRANSFERS, UNKNOWN, primaries_name, transfer_name
from stdo.bundle.manifest import Colour, Normalisation
from workers.errors import UnsupportedColourError
from workers.ffmpeg.program import FFmpeg, VideoFilter
from workers.source.source_counts import FrameFormat

Matrix = Literal["bt601", "bt709", "bt2020"]

EXACT_SCALING = "accurate_rnd+full_chroma_int+bitexact"
"""swscale without its shortcuts: the same bytes on every machine."""

PIXEL_FORMATS: Mapping[BitDepth, str] = {8: "yuv420p", 10: "yuv420p10le"}
"""FFmpeg's names of the normalised picture's sample layouts."""

_MATRICES: Mapping[int, Matrix] = {1: "bt709", 5: "bt601", 6: "bt601", 9: "bt2020"}
_CONVERTED_MATRICES = {4: "fcc", 7: "smpte240m"}
_MATRIX_OF_PRIMARIES: Mapping[int, Matrix] = {1: "bt709", 5: "bt601", 6: "bt601", 9: "bt2020"}
_GBR, _UNSPECIFIED, _IPT = 0, 2, 15
_DEEPEST: BitDepth = 10
"""Bits of a sample: what is deeper is rounded."""

_HD_WIDTH, _SD_HEIGHT = 1280, 576
"""Where nothing is said, a picture this wide, or higher than that, is BT.709, as players assume it."""

_SDR = Colour(matrix="bt709", range="limited", primaries="bt709", transfer="bt709")

_HDR_WHITE_NITS = 203
"""Diffuse white of HDR material (ITU-R BT.2408), which becomes white; the curve makes room for what is brighter."""


@dataclass(frozen=True, kw_only=True)
class ColourConversion:
    """How frames become 4:2:0, at a given size."""

    colour: Colour
    bit_depth: BitDepth
    filters: tuple[VideoFilter, ...]
    notes: tuple[Normalisation, ...]


class _Target(NamedTuple):
    """What swscale is asked for."""

    width: int
    height: int
    chroma_location_in: Literal["left", "center"]
    """Where the source's chroma samples lie. Files hardly ever say so. MPEG puts them left, JPEG in the centre."""


@dataclass(frozen=True, kw_only=True)
class ColourConversions:
    """The ways to make 4:2:0 out of frames of one format."""

    kept: ColourConversion
    """With the frames' own depth, ten bits at most; HDR stays HDR."""
    tone_mapped: ColourConversion | None
    """To SDR with 8 bits, of HDR alone."""


def convert_colour(
    frames: FrameFormat, *, video_codec: str, width: int, height: int, program: FFmpeg
) -> ColourConversions:
    """What to do to frames of this format so that they are `width` x `height` 4:2:0, chroma sited left.

    Raises:
        UnsupportedColourError: FFmpeg can't convert these colours.
    """
    target = _Target(width=width, height=height, chroma_location_in="center" if video_codec == "mjpeg" else "left")
    if frames.has_dolby_vision and frames.matrix in (_UNSPECIFIED, _IPT):
        raise UnsupportedColourError(
            "The video is Dolby Vision without a compatible base layer (profile 5). Convert it to SDR first."
        )
    kept = _from_rgb(frames, target) if _is_rgb(frames) else _from_yuv(frames, target)
    tone_mapped = _tone_mapped(frames, target, program) if _is_hdr(frames) else None
    return ColourConversions(kept=kept, tone_mapped=tone_mapped)


def colour_parameters(colour: Colour) -> VideoFilter:
    """The filter that writes `colour` onto frames, for the encoder to put it into the stream."""
    return VideoFilter(
        name="setparams",
        options={
            "range": colour.range,
            "color_primaries": colour.primaries,
            "color_trc": colour.transfer,
            "colorspace": {"bt601": "smpte170m", "bt709": "bt709", "bt2020": "bt2020nc"}[colour.matrix],
            "chroma_location": "left",
            "field_mode": "prog",
        },
    )


def _from_yuv(frames: FrameFormat, target: _Target) -> ColourConversion:
    notes = _pixel_format_notes(frames, bit_depth=_kept_depth(frames))
    matrix, matrix_in = _matrix(frames, notes)
    full_range = frames.full_range if frames.full_range is not None else frames.pixel_format.startswith("yuvj")
    colour = Colour(
        matrix=matrix,
        range="full" if full_range else "limited",
        primaries=primaries_name(frames.primaries),
        transfer=transfer_name(frames.transfer),
    )
    bit_depth = _kept_depth(frames)
    same_size = (target.width, target.height) == (frames.width, frames.height)
    if frames.pixel_format == PIXEL_FORMATS[bit_depth] and same_size and matrix_in == matrix:
        filters: tuple[VideoFilter, ...] = ()
    else:
        filters = _to_4_2_0(
            frames,
            target,
            bit_depth,
            in_color_matrix=matrix_in,
            out_color_matrix=matrix,
            in_range=colour.range,
            out_range=colour.range,
        )
    return ColourConversion(
        colour=colour, bit_depth=bit_depth, filters=filters, notes=(*notes, *_hdr_notes(frames, bit_depth))
    )


def _matrix(frames: FrameFormat, notes: list[Normalisation]) -> tuple[Matrix, str]:
    """The matrix of the normalised picture, and swscale's name of the source's."""
    if frames.matrix in _MATRICES:
        matrix = _MATRICES[frames.matrix]
        return matrix, matrix
    if frames.matrix in _CONVERTED_MATRICES:
        name = _CONVERTED_MATRICES[frames.matrix]
        notes.append(
            Normalisation(code="matrix_converted", detail=f"The {name} colour matrix was converted to BT.709.")
        )
        return "bt709", name
    if frames.matrix not in (_GBR, _UNSPECIFIED):
        raise UnsupportedColourError(
            f"The video's colour matrix (H.273 code {frames.matrix}) is not supported. Convert it to BT.709 first."
        )
    is_hd = frames.width >= _HD_WIDTH or frames.height > _SD_HEIGHT
    of_size: Matrix = "bt2020" if _is_hdr(frames) else "bt709" if is_hd else "bt601"
    matrix = _MATRIX_OF_PRIMARIES.get(frames.primaries, of_size)
    notes.append(
        Normalisation(
            code="colour_assumed",
            detail=f"The file does not state its colour matrix: {matrix} was assumed, as players do for this size.",
        )
    )
    return matrix, matrix


def _from_rgb(frames: FrameFormat, target: _Target) -> ColourConversion:
    bit_depth = _kept_depth(frames)
    matrix: Matrix = "bt2020" if _is_hdr(frames) else "bt709"
    named = primaries_name(frames.primaries)
    colour = Colour(
        matrix=matrix,
        range="limited",
        primaries=matrix if named == UNKNOWN else named,
        transfer=transfer_name(frames.transfer),
    )
    title = {"bt709": "BT.709", "bt2020": "BT.2020"}[matrix]
    note = Normalisation(code="rgb_converted", detail=f"R'G'B' was converted to Y'CbCr ({title}, limited range).")
    filters = _to_4_2_0(frames, target, bit_depth, out_color_matrix=matrix, in_range="full", out_range="limited")
    notes = (*_pixel_format_notes(frames, bit_depth=bit_depth), note, *_hdr_notes(frames, bit_depth))
    return ColourConversion(colour=colour, bit_depth=bit_depth, filters=filters, notes=notes)


def _tone_mapped(frames: FrameFormat, target: _Target, program: FFmpeg) -> ColourConversion:
    """Tone mapping by zimg in linear light: to nits, to BT.709 primaries, to what an SDR screen shows, and back."""
    if not program.has_filter("zscale"):
        raise UnsupportedColourError(
            "The video is HDR, and this service's FFmpeg was built without zimg, which tone mapping needs. "
            "Convert the video to SDR first."
        )
    transfer = transfer_name(frames.transfer)
    named = primaries_name(frames.primaries)
    is_rgb = _is_rgb(frames)
    meaning = {
        "range": "full" if frames.full_range or is_rgb else "limited",
        "color_primaries": "bt2020" if named == UNKNOWN else named,
        "color_trc": transfer,
        "colorspace": "gbr" if is_rgb else "bt2020nc",
    }
    sdr = {"transfer": "bt709", "matrix": "709", "primaries": "709", "range": "limited"}
    filters = (
        # zimg refuses a frame that leaves any of these open.
        VideoFilter(name="setparams", options=meaning),
        # It takes no 4:2:0 picture of odd size either, but any 4:4:4.
        *_scaled(target, "gbrp16le" if is_rgb else "yuv444p16le"),
        VideoFilter(name="zscale", options={"transfer": "linear", "npl": str(_HDR_WHITE_NITS)}),
        VideoFilter(name="format", options={"pix_fmts": "gbrpf32le"}),
        VideoFilter(name="zscale", options={"primaries": "709"}),
        VideoFilter(name="tonemap", options={"tonemap": "mobius", "desat": "0"}),
        VideoFilter(name="zscale", options=sdr),
        VideoFilter(name="format", options={"pix_fmts": "yuv444p16le"}),
        *_scaled(target, "yuv420p16le", in_range="limited", out_range="limited"),
        *_scaled(target._replace(chroma_location_in="left"), PIXEL_FORMATS[8]),
    )
    note = Normalisation(
        code="hdr_tone_mapped",
        detail=f"HDR ({HDR_TRANSFERS[transfer]}) was tone-mapped to SDR (Möbius curve), BT.709, limited range.",
    )
    notes = (*_pixel_format_notes(frames, bit_depth=8), note)
    return ColourConversion(colour=_SDR, bit_depth=8, filters=filters, notes=notes)


def _to_4_2_0(frames: FrameFormat, target: _Target, bit_depth: BitDepth, **colours: str) -> tuple[VideoFilter, ...]:
    """swscale's conversion, rounded and not dithered: dither would be noise that no network can restore.

    It dithers all the same when it has more than a change of depth to do. So deep samples become 4:2:0 first.
    """
    if _depth(frames) == bit_depth:
        return _scaled(target, PIXEL_FORMATS[bit_depth], **colours)
    shrunk = target._replace(chroma_location_in="left")
    return (*_scaled(target, "yuv420p16le", **colours), *_scaled(shrunk, PIXEL_FORMATS[bit_depth]))


def _scaled(target: _Target, pixel_format: str, **colours: str) -> tuple[VideoFilter, ...]:
    options = {
        "w": str(target.width),
        "h": str(target.height),
        "flags": f"bicubic+{EXACT_SCALING}",
        "sws_dither": "none",
        "in_chroma_loc": target.chroma_location_in,
        "out_chroma_loc": "left",
    }
    return (
        VideoFilter(name="scale", options=options | colours),
        VideoFilter(name="format", options={"pix_fmts": pixel_format}),
    )


def _depth(frames: FrameFormat) -> int:
    """Bits of the deepest sample."""
    return max(component.bits for component in av.VideoFormat(frames.pixel_format).components)


def _kept_depth(frames: FrameFormat) -> BitDepth:
    return 8 if _depth(frames) <= 8 else _DEEPEST


def _is_hdr(frames: FrameFormat) -> bool:
    return transfer_name(frames.transfer) in HDR_TRANSFERS


def _hdr_notes(frames: FrameFormat, bit_depth: BitDepth) -> list[Normalisation]:
    if not _is_hdr(frames):
        return []
    kind = HDR_TRANSFERS[transfer_name(frames.transfer)]
    return [Normalisation(code="hdr_kept", detail=f"The picture is HDR ({kind}) and stays so, with {bit_depth} bits.")]


def _is_rgb(frames: FrameFormat) -> bool:
    pixel_format = av.VideoFormat(frames.pixel_format)
    return pixel_format.is_rgb or pixel_format.has_palette


def _pixel_format_notes(frames: FrameFormat, *, bit_depth: BitDepth) -> list[Normalisation]:
    pixel_format = av.VideoFormat(frames.pixel_format)
    notes = []
    if _depth(frames) > bit_depth:
        detail = f"{_depth(frames)} bits a sample were rounded to {bit_depth}."
        notes.append(Normalisation(code="bit_depth_reduced", detail=detail))
    if any(component.is_alpha for component in pixel_format.components):
        notes.append(Normalisation(code="alpha_dropped", detail="Transparency was dropped; the colours below it show."))
    chroma_shape = pixel_format.chroma_width(16), pixel_format.chroma_height(16)
    if not _is_rgb(frames) and (chroma_shape != (8, 8) or len(pixel_format.components) < 3):
        detail = f"{pixel_format.name} was converted to 4:2:0 chroma subsampling."
        notes.append(Normalisation(code="chroma_converted", detail=detail))
    return notes
