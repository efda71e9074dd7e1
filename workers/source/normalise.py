"""What is done to an unusual source so that the rest of the pipeline meets one kind of picture only, and what is said
about it: upright, progressive, square pixels, 4:2:0 with 8 or 10 bits, one sound track, usable times."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from pydantic import BaseModel, ConfigDict

from stdo.bundle.codecs import BitDepth
from stdo.bundle.h273 import HDR_TRANSFERS
from stdo.bundle.manifest import Colour, Normalisation
from workers.errors import PictureTooSmallError, VideoTooLargeError
from workers.ffmpeg.program import FFmpeg, VideoFilter
from workers.source.colour import ColourConversion, colour_parameters, convert_colour
from workers.source.orientation import Orientation, read_orientation
from workers.source.source_file import ReadSource
from workers.source.timeline import Timeline

_SMALLEST_SIDE = 16
"""Pixels; below that there is nothing to restore."""
_LARGEST_SIDE = 16384
"""Pixels: the most that a manifest can state (docs/FORMAT.md)."""

_LARGEST_PIXEL_ASPECT = 4
"""A sample aspect ratio beyond this, or below its inverse, is taken for a mistake."""


class PictureForm(BaseModel):
    """One way to make the normalised picture out of decoded frames."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    colour: Colour
    bit_depth: BitDepth
    filters: tuple[VideoFilter, ...]
    """What makes the picture at display size out of a decoded frame, in order."""
    notes: tuple[Normalisation, ...]


@dataclass(frozen=True, kw_only=True)
class NormalisedPicture:
    """The picture that all later stages see."""

    width: int
    height: int
    rotation_degrees: int
    kept: PictureForm
    """With the source's own depth, ten bits at most; HDR stays HDR."""
    tone_mapped: PictureForm | None
    """As SDR with 8 bits, of an HDR source alone."""


def normalise(read: ReadSource, timeline: Timeline, program: FFmpeg, *, max_pixels_per_frame: int) -> NormalisedPicture:
    """Decide what to do to each frame.

    Args:
        max_pixels_per_frame: that the picture may have once its pixels are square.

    Raises:
        UnsupportedColourError, PictureTooSmallError, VideoTooLargeError
    """
    frames = read.frame_format
    orientation = read_orientation(frames.display_matrix)
    width, height, is_stretched = _square_pixel_size(frames.width, frames.height, read.sample_aspect_ratio)
    display_width, display_height = (height, width) if orientation.swaps_sides else (width, height)
    _check_size(display_width, display_height, max_pixels=max_pixels_per_frame)
    conversions = convert_colour(frames, video_codec=read.video_codec, width=width, height=height, program=program)
    shape_notes = _shape_notes(read, orientation, is_stretched=is_stretched, width=display_width, height=display_height)

    def form(conversion: ColourConversion) -> PictureForm:
        return PictureForm(
            colour=conversion.colour,
            bit_depth=conversion.bit_depth,
            filters=(*_before(read, timeline), *conversion.filters, *orientation.filters, *_after(conversion)),
            notes=(
                *_time_notes(read, timeline),
                *_frame_notes(read),
                *shape_notes,
                *conversion.notes,
                *_stream_notes(read),
            ),
        )

    return NormalisedPicture(
        width=display_width,
        height=display_height,
        rotation_degrees=orientation.rotation_degrees,
        kept=form(conversions.kept),
        tone_mapped=None if conversions.tone_mapped is None else form(conversions.tone_mapped),
    )


def _before(read: ReadSource, timeline: Timeline) -> list[VideoFilter]:
    """The filters that give the frames their times, and make whole frames of interlaced ones."""
    filters = timeline.filters()
    if read.interlaced_frame_count:
        # One frame for each frame, and only frames that say they are interlaced.
        options = {"mode": "send_frame", "parity": "auto", "deint": "interlaced"}
        filters.append(VideoFilter(name="bwdif", options=options))
    return filters


def _after(conversion: ColourConversion) -> list[VideoFilter]:
    """Correct what the frames say of themselves."""
    # A frame that was turned must not ask to be turned again. Of a picture that stays HDR all other side data is kept,
    # such as the light levels of the scene; of any other it no longer holds.
    gone = {"type": "DISPLAYMATRIX"} if conversion.colour.transfer in HDR_TRANSFERS else {}
    return [
        VideoFilter(name="sidedata", options={"mode": "delete", **gone}),
        VideoFilter(name="setsar", options={"sar": "1"}),
        colour_parameters(conversion.colour),
    ]


def _check_size(width: int, height: int, *, max_pixels: int) -> None:
    """Of the picture with square pixels, which may be larger than the coded one that reading has checked."""
    if min(width, height) < _SMALLEST_SIDE:
        raise PictureTooSmallError(
            f"The picture is {width}x{height}, and this service takes at least {_SMALLEST_SIDE} pixels a side. "
            "Scale it up first."
        )
    if max(width, height) > _LARGEST_SIDE or width * height > max_pixels:
        raise VideoTooLargeError(
            f"The picture is {width}x{height} with square pixels, and this service takes at most {max_pixels} pixels, "
            f"and {_LARGEST_SIDE} a side. Scale it down first."
        )


def _square_pixel_size(width: int, height: int, aspect: Fraction) -> tuple[int, int, bool]:
    """The size at which pixels are square, one side being enlarged, so that no detail is lost; whether it changed."""
    if not _is_plausible(aspect):
        return width, height, False
    square = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    return *square, square != (width, height)


def _is_plausible(aspect: Fraction) -> bool:
    return Fraction(1, _LARGEST_PIXEL_ASPECT) <= aspect <= _LARGEST_PIXEL_ASPECT


def _time_notes(read: ReadSource, timeline: Timeline) -> list[Normalisation]:
    notes = []
    if timeline.variable_frame_rate:
        notes.append(_note("variable_frame_rate_kept", "The frame rate varies; each frame keeps its own time."))
    if timeline.repair == "nudged":
        notes.append(
            _note("timestamps_nudged", "Some frames did not come after the one before, and were moved on a little.")
        )
    if timeline.repair == "rebuilt":
        rate = f"{float(timeline.average_frame_rate):.3f} frames a second"
        notes.append(
            _note("timestamps_rebuilt", f"Timestamps are missing or contradict each other: {rate} were assumed.")
        )
    if read.times.start_seconds and read.container != "avi":
        start = f"{float(read.times.start_seconds):.3f} s"
        notes.append(_note("start_time_removed", f"Time starts at {start} in the file, and at 0 now."))
    return notes


def _frame_notes(read: ReadSource) -> list[Normalisation]:
    notes = []
    if read.interlaced_frame_count:
        share = f"{read.interlaced_frame_count} of {read.frame_count} frames"
        notes.append(
            _note("deinterlaced", f"{share} are interlaced and were deinterlaced (bwdif, one frame for each).")
        )
    if read.damaged_frame_count:
        share = f"{read.damaged_frame_count} of {read.frame_count} frames"
        notes.append(_note("damaged_frames_kept", f"{share} are damaged; they are shown as decoded."))
    return notes


def _shape_notes(
    read: ReadSource, orientation: Orientation, *, is_stretched: bool, width: int, height: int
) -> list[Normalisation]:
    notes = [] if orientation.note is None else [orientation.note]
    aspect = read.sample_aspect_ratio
    if is_stretched:
        enlarged = f"the picture was enlarged to {width}x{height} square ones"
        notes.append(_note("pixels_squared", f"The pixels' aspect ratio is {aspect}: {enlarged}."))
    elif not _is_plausible(aspect):
        notes.append(_note("pixel_aspect_ignored", f"A pixel aspect ratio of {aspect} can't be meant: 1 was assumed."))
    if width % 2 or height % 2:
        extended = "the right column or bottom row is repeated to encode it, and cut off again after restoring"
        notes.append(_note("odd_size_extended", f"{width}x{height} is odd: {extended}."))
    return notes


def _stream_notes(read: ReadSource) -> list[Normalisation]:
    notes = []
    if read.unread_streams:
        others = f"{len(read.unread_streams)} more streams ({', '.join(sorted(set(read.unread_streams)))})"
        notes.append(_note("streams_dropped", f"{others} were left out: one picture and one sound track are kept."))
    if read.audio_codec not in (None, "aac"):
        notes.append(_note("audio_converted", f"The sound was converted from {read.audio_codec} to AAC."))
    return notes


def _note(code: str, detail: str) -> Normalisation:
    return Normalisation(code=code, detail=detail)
