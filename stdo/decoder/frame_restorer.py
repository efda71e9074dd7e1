"""Restore single frames with given networks (docs/FORMAT.md, section 9)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from stdo.bundle.geometry import FrameLayout, Image, assemble_patches, halved_grid, patch_windows, sample_type
from stdo.bundle.manifest import Channels, PatchGrid
from stdo.bundle.patch_index import AS_DECODED, NetworkNumbers
from stdo.decoder.frames import Plane, YuvFrame, yuv_to_rgb
from stdo.decoder.resize import resize_frame
from stdo.decoder.restored_frame import RestoredFrame
from stdo.errors import VideoError
from stdo.networks.upscale import CHANNEL_COUNTS, Upscaler

# Pixels of the base stream, halo included, that a network sees at once. Bounds the memory of large frames: a network
# with 128 channels holds 16 MiB in each of its layers' outputs.
_BATCH_PIXELS = 32_768
_Patches = npt.NDArray[np.int64]
"""Places of patches in raster order."""


class FrameRestorer:
    """Restores frames of one layout with networks whose numbers are their places in `upscalers`."""

    def __init__(self, layout: FrameLayout, upscalers: Sequence[Upscaler]) -> None:
        """`upscalers` may load each network when it is first asked for."""
        self._layout = layout
        self._upscalers = upscalers

    def restore(self, base: YuvFrame, numbers: NetworkNumbers) -> RestoredFrame:
        """Restore one frame.

        Args:
            base: a decoded frame of the base stream.
            numbers: (rows * columns,) uint8, the network of each patch in raster order, or AS_DECODED; any without a
                patch grid.

        Raises:
            VideoError: the frame hasn't the base stream's size or depth.
            NetworkError: a network fails.
        """
        self._check(base)
        picture, grid = self._layout.picture, self._layout.grid
        upscalers = {int(number): self._upscalers[number] for number in np.unique(numbers) if number != AS_DECODED}
        if grid is None or not upscalers:
            return self._planes_frame(as_decoded(base, self._layout))
        channels = _common_channels(upscalers.values(), scale=picture.scale)
        work = _Work(layout=self._layout, grid=grid, upscalers=upscalers, numbers=numbers)
        if channels == "rgb":
            rgb = work.rgb(base)
            return RestoredFrame(time=base.time, colour=picture.colour, bit_depth=picture.bit_depth, restored_rgb=rgb)
        return self._planes_frame(work.luma(base) if channels == "luma" else work.yuv(base))

    def _planes_frame(self, planes: YuvFrame) -> RestoredFrame:
        picture = self._layout.picture
        return RestoredFrame(time=planes.time, colour=picture.colour, bit_depth=picture.bit_depth, restored_yuv=planes)

    def _check(self, base: YuvFrame) -> None:
        picture, bit_depth = self._layout.picture, self._layout.base_bit_depth
        height, width = base.y.shape
        if (width, height, base.bit_depth) != (picture.base_width, picture.base_height, bit_depth):
            raise VideoError(
                f"A frame of the base stream is {width}x{height} with {base.bit_depth} bits where the manifest says "
                f"{picture.base_width}x{picture.base_height} with {bit_depth}."
            )


def as_decoded(base: YuvFrame, layout: FrameLayout) -> YuvFrame:
    """A base frame as a patch "as decoded" shows it: enlarged by `bicubic`, in the picture's depth and size."""
    picture = layout.picture
    enlarged = resize_frame(base, scale=picture.scale, filter="bicubic").to_depth(picture.bit_depth)
    return enlarged.cropped(width=picture.display_width, height=picture.display_height)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Work:
    """One frame's patches on their way through the networks."""

    layout: FrameLayout
    grid: PatchGrid
    upscalers: Mapping[int, Upscaler]
    """Those that the frame needs, by number."""
    numbers: NetworkNumbers

    def rgb(self, base: YuvFrame) -> Image:
        """(display_height, display_width, 3)"""
        colour = self.layout.picture.colour
        windows = patch_windows(yuv_to_rgb(base, colour), self.grid)
        rgb = self._assembled(self._upscaled(lambda patches: _cut(windows, patches), self.grid, "rgb"), self.grid)
        if self._decoded.size:
            self._paste(yuv_to_rgb(as_decoded(base, self.layout), colour), rgb, self.grid)
        return rgb

    def luma(self, base: YuvFrame) -> YuvFrame:
        """Y by the networks, U and V as decoded."""
        decoded = as_decoded(base, self.layout)
        windows = patch_windows(base.y[..., np.newaxis], self.grid)
        restored = self._upscaled(lambda patches: _cut(windows, patches), self.grid, "luma")
        y = self._assembled(restored, self.grid)[..., 0]
        self._paste(decoded.y, y, self.grid)
        return replace(decoded, y=y)

    def yuv(self, base: YuvFrame) -> YuvFrame:
        """All planes by the networks, which see six planes of half the size."""
        half = halved_grid(self.grid)
        luma = patch_windows(base.y[..., np.newaxis], self.grid)
        chroma = patch_windows(np.stack([base.u, base.v], axis=-1), half)

        def cut(patches: _Patches) -> Image:
            return np.concatenate([_packed(_cut(luma, patches)), _cut(chroma, patches)], axis=-1)

        restored = self._upscaled(cut, half, "yuv")
        y = self._assembled(_unpacked(restored[..., :4]), self.grid)[..., 0]
        u, v = np.moveaxis(self._assembled(restored[..., 4:], half, halved=True), -1, 0)
        if self._decoded.size:
            decoded = as_decoded(base, self.layout)
            self._paste(decoded.y, y, self.grid)
            self._paste(decoded.u, u, half)
            self._paste(decoded.v, v, half)
        return YuvFrame(y=y, u=u, v=v, time=base.time, bit_depth=self.layout.picture.bit_depth)

    @cached_property
    def _decoded(self) -> _Patches:
        """The patches that are shown as decoded."""
        return np.flatnonzero(self.numbers == AS_DECODED)

    def _upscaled(self, cut: Callable[[_Patches], Image], grid: PatchGrid, channels: Channels) -> Image:
        """Each patch by its network, without the halo, in the picture's depth; 0 where it is as decoded.

        Args:
            cut: what the network sees of some patches, (n, patch_height + 2 * halo, patch_width + 2 * halo, C). A few
                are cut at a time: all of them at once can be many times the frame.
            grid: as `cut` sees it.

        Returns:
            (patches, scale * patch_height, scale * patch_width, C)
        """
        picture = self.layout.picture
        overhang = picture.scale * grid.halo
        rows, columns = picture.scale * grid.patch_height, picture.scale * grid.patch_width
        shape = (grid.patch_count, rows, columns, CHANNEL_COUNTS[channels])
        restored = np.zeros(shape, sample_type(picture.bit_depth))
        window_pixels = (grid.patch_height + 2 * grid.halo) * (grid.patch_width + 2 * grid.halo)
        batch_size = max(1, _BATCH_PIXELS // window_pixels)
        for number, upscaler in self.upscalers.items():
            members = np.flatnonzero(self.numbers == number)
            for start in range(0, len(members), batch_size):
                batch = members[start : start + batch_size]
                output = upscaler(cut(batch), base_bit_depth=self.layout.base_bit_depth, bit_depth=picture.bit_depth)
                restored[batch] = output[:, overhang : overhang + rows, overhang : overhang + columns]
        return restored

    def _assembled(self, patches: Image, grid: PatchGrid, *, halved: bool = False) -> Image:
        """The patches side by side, cut to the size of the picture or of its chroma planes."""
        picture = self.layout.picture
        height, width = picture.display_height, picture.display_width
        if halved:
            height, width = -(-height // 2), -(-width // 2)
        return assemble_patches(patches, grid, scale=picture.scale, height=height, width=width)

    def _paste(self, decoded: Image | Plane, restored: Image | Plane, grid: PatchGrid) -> None:
        """Put what is shown as decoded in its place."""
        height, width = (self.layout.picture.scale * size for size in (grid.patch_height, grid.patch_width))
        for patch in self._decoded:
            row, column = divmod(int(patch), grid.columns)
            box = slice(row * height, (row + 1) * height), slice(column * width, (column + 1) * width)
            restored[box] = decoded[box]


def _cut(windows: Image, patches: _Patches) -> Image:
    """Some of the `patch_windows`, copied: (n, H, W, C)."""
    rows, columns = np.divmod(patches, windows.shape[1])
    return windows[rows, columns]


def _packed(luma: Image) -> Image:
    """(B, H, W, 1) -> (B, H / 2, W / 2, 4): upper left, upper right, lower left, lower right of each square of four."""
    phases = [luma[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]
    return np.concatenate(phases, axis=-1)


def _unpacked(phases: Image) -> Image:
    """What `_packed` made, undone."""
    count, height, width, _ = phases.shape
    squares = phases.reshape(count, height, width, 2, 2)
    return squares.transpose(0, 1, 3, 2, 4).reshape(count, 2 * height, 2 * width, 1)


def _common_channels(upscalers: Iterable[Upscaler], *, scale: int) -> Channels:
    found = {(upscaler.channels, upscaler.scale) for upscaler in upscalers}
    channels, network_scale = found.pop()
    if found or network_scale != scale:
        raise ValueError("the networks of one picture share its scale, and all read the same channels")
    return channels
