"""The decoded low-resolution frames and the source's frames, side by side, and how they are cut into patches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.presets import EncodingSettings
from stdo.bundle.geometry import make_patch_grid
from stdo.bundle.manifest import PatchGrid, Picture
from stdo.decoder.frames import YuvFrame, decode_video
from stdo.quality.psnr import ReferenceFrame
from workers.ffmpeg.program import FFmpeg
from workers.source.frames import read_source_frames
from workers.source.probe import SourceInfo

GENERAL_NETWORK_HALO = 4
"""The halo that the general networks are trained with, and always run with."""


@dataclass(frozen=True, kw_only=True)
class VideoFiles:
    """A video as every stage after base_stream reads it."""

    source: Path
    base_stream: Path
    info: SourceInfo
    ffmpeg: FFmpeg
    """What decodes the source."""

    def frame_pairs(self, picture: Picture) -> Iterator[FramePair]:
        """All frames in order, in one pass. Raises as decoding does."""
        sources = read_source_frames(self.source, self.info, picture, program=self.ffmpeg)
        for number, (base, source) in enumerate(zip(decode_video(self.base_stream), sources, strict=True)):
            yield FramePair(number=number, base=base, source=source)


@dataclass(frozen=True, kw_only=True, eq=False)
class FramePair:
    """One frame of the video, twice."""

    number: int
    base: YuvFrame
    """Decoded from the low-resolution stream: base_width x base_height."""
    source: YuvFrame
    """Of the normalised source, extended to scale times that size."""

    def reference(self, picture: Picture) -> ReferenceFrame:
        """The source at display size, to compare a restored frame with."""
        frame = self.source.cropped(width=picture.display_width, height=picture.display_height)
        return ReferenceFrame(frame=frame, colour=picture.colour)


def patch_grid(picture: Picture, settings: EncodingSettings, *, halo: int | None = None) -> PatchGrid:
    """The grid that the settings ask for, with another halo where one is given."""
    return make_patch_grid(
        base_width=picture.base_width,
        base_height=picture.base_height,
        patch_width=settings.patches.width,
        patch_height=settings.patches.height,
        halo=settings.patches.halo if halo is None else halo,
    )
