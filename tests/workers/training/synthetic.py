"""Small videos whose frames are computed and not decoded: what the stages of training begin with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from core.encoding_settings import EncodingSettings
from stdo.bundle.codecs import BitDepth
from stdo.bundle.geometry import FrameLayout, base_size, make_patch_grid
from stdo.bundle.manifest import Colour, Picture, Rational
from stdo.decoder.frames import YuvFrame
from stdo.service.resources import ProgressUnit, Stage
from workers.base_stream.frame_pairs import FramePair, VideoFiles

COLOUR = Colour(matrix="bt709", range="limited", primaries="bt709", transfer="bt709")
Samples = npt.NDArray[Any]


def silent(stage: Stage, done: int, total: int, unit: ProgressUnit) -> None:
    """A `Progress` that tells nobody."""


@dataclass(frozen=True, kw_only=True)
class SyntheticVideo:
    """Behaves as VideoFiles does, and counts how often its frames are read."""

    layout: FrameLayout
    pairs: tuple[FramePair, ...]
    base_stream: Path
    info: SimpleNamespace
    passes: list[None]

    def frame_pairs(self) -> Iterator[FramePair]:
        self.passes.append(None)
        return iter(self.pairs)


def synthetic_video(
    folder: Path,
    settings: EncodingSettings,
    *,
    display: tuple[int, int] = (57, 39),
    frames: int = 4,
    base_bit_depth: BitDepth = 8,
    bit_depth: BitDepth = 8,
    content: bytes = b"base stream",
) -> VideoFiles:
    """A video of blocks and noise; its base frames are means of the source's samples, at scale 1 over 3x3 of them."""
    layout = layout_of(settings, display, frames, base_bit_depth=base_bit_depth, bit_depth=bit_depth)
    base_stream = folder / "base.mp4"
    base_stream.write_bytes(content)
    video = SyntheticVideo(
        layout=layout,
        pairs=tuple(_pair(number, layout) for number in range(frames)),
        base_stream=base_stream,
        info=SimpleNamespace(source=SimpleNamespace(sha256="0" * 64)),
        passes=[],
    )
    return cast(VideoFiles, video)


def layout_of(
    settings: EncodingSettings,
    display: tuple[int, int] = (57, 39),
    frames: int = 4,
    *,
    base_bit_depth: BitDepth = 8,
    bit_depth: BitDepth = 8,
) -> FrameLayout:
    """What a video of this size would have with these settings."""
    width, height = (base_size(size, settings.scale) for size in display)
    picture = Picture(
        scale=settings.scale,
        display_width=display[0],
        display_height=display[1],
        base_width=width,
        base_height=height,
        bit_depth=bit_depth,
        frame_count=frames,
        average_frame_rate=Rational(numerator=25, denominator=1),
        variable_frame_rate=False,
        duration_seconds=frames / 25,
        colour=COLOUR,
    )
    patches = settings.patches
    grid = make_patch_grid(
        base_width=width,
        base_height=height,
        patch_width=patches.width,
        patch_height=patches.height,
        halo=patches.halo,
    )
    return FrameLayout(picture=picture, grid=grid, base_bit_depth=base_bit_depth)


def _pair(number: int, layout: FrameLayout) -> FramePair:
    picture = layout.picture
    width, height = picture.scale * picture.base_width, picture.scale * picture.base_height
    random = np.random.default_rng(number)
    y = 502 + 700 * _texture(random, height, width)
    u, v = (512 + 100 * _texture(random, height // 2, width // 2) for _ in range(2))
    source = _frame((y, u, v), number, picture.bit_depth)
    means = [_means(plane, picture.scale) for plane in (y, u, v)]
    return FramePair(number=number, base=_frame(means, number, layout.base_bit_depth), source=source, layout=layout)


def _texture(random: np.random.Generator, height: int, width: int) -> Samples:
    """(height, width) float, -1/2 to 1/2: noise, softened, finer and stronger to the right."""
    noise = random.random((height, width)) - 0.5
    return _means(noise, 1) * np.linspace(0.5, 1.5, width).clip(max=1)


def _means(plane: Samples, scale: int) -> Samples:
    height, width = plane.shape
    if scale > 1:
        return plane.reshape(height // scale, scale, width // scale, scale).mean(axis=(1, 3))
    padded = np.pad(plane, 1, mode="edge")
    return np.mean([padded[row : row + height, left : left + width] for row in range(3) for left in range(3)], axis=0)


def _frame(planes: Any, number: int, bit_depth: BitDepth) -> YuvFrame:
    y, u, v = (np.rint(plane).astype(np.uint16) for plane in planes)
    return YuvFrame(y=y, u=u, v=v, time=Fraction(number, 25), bit_depth=10).to_depth(bit_depth)
