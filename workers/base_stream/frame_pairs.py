"""The decoded base frames and the source's frames, side by side, and how they are cut into patches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from core.encoding_settings import EncodingSettings
from stdo.bundle.geometry import FrameLayout, make_patch_grid
from stdo.decoder.frames import YuvFrame
from stdo.decoder.video_reader import decode_video
from stdo.quality.psnr import ReferenceFrame
from workers.base_stream.encoders import base_bit_depth
from workers.errors import FrameMismatchError
from workers.ffmpeg.program import FFmpeg
from workers.source.frames import read_source_frames
from workers.source.probe import SourceInfo


@dataclass(frozen=True, kw_only=True)
class VideoFiles:
    """A video as every stage after the encode reads it."""

    source: Path
    base_stream: Path
    info: SourceInfo
    layout: FrameLayout
    ffmpeg: FFmpeg
    """What decodes the source."""

    def source_frames(self) -> Iterator[YuvFrame]:
        """All frames of the source's canvas, in order. Raises as decoding does."""
        return read_source_frames(self.source, self.info, self.layout.picture, program=self.ffmpeg)

    def frame_pairs(self) -> Iterator[FramePair]:
        """All frames in order, in one pass.

        Raises:
            FrameMismatchError: they are not as many, or not as many as the probe counted.
            VideoError, FFmpegFailedError, FFmpegTimedOutError: from the decoders.
        """
        pairs = zip_longest(decode_video(self.base_stream), self.source_frames())
        for number, (base, source) in enumerate(pairs):
            if base is None or source is None:
                shorter, longer = ("base stream", "source") if base is None else ("source", "base stream")
                raise FrameMismatchError(
                    f"The {shorter} decodes to {number} frames, and the {longer} to more. Choose another "
                    "base_stream.codec."
                )
            yield FramePair(number=number, base=base, source=source, layout=self.layout)


@dataclass(frozen=True, kw_only=True, eq=False)
class FramePair:
    """One frame of the video, twice."""

    number: int
    base: YuvFrame
    """Decoded from the base stream: base_width x base_height, at the base stream's depth."""
    source: YuvFrame
    """Of the normalised source, extended to scale times that size, at the picture's depth."""
    layout: FrameLayout

    def reference(self) -> ReferenceFrame:
        """The source at display size, to compare a restored frame with."""
        picture = self.layout.picture
        frame = self.source.cropped(width=picture.display_width, height=picture.display_height)
        return ReferenceFrame(frame=frame, colour=picture.colour)


def frame_layout(info: SourceInfo, settings: EncodingSettings) -> FrameLayout:
    """Geometry, patches and depths that the settings ask for."""
    picture = info.picture(settings)
    grid = make_patch_grid(
        base_width=picture.base_width,
        base_height=picture.base_height,
        patch_width=settings.patches.width,
        patch_height=settings.patches.height,
        halo=settings.patches.halo,
    )
    return FrameLayout(picture=picture, grid=grid, base_bit_depth=base_bit_depth(settings.base_stream, picture))
