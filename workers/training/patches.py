"""The pixels that a training works on: patches of the decoded base frames and of the source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from models.channels import Channels, channel_count
from stdo.bundle.codecs import BitDepth
from stdo.bundle.geometry import FrameLayout, Image, extract_patches, peak
from stdo.bundle.manifest import Colour, PatchGrid
from stdo.decoder.frames import YuvFrame, yuv_to_rgb
from workers.base_stream.frame_pairs import FramePair, VideoFiles
from workers.training.frame_threads import map_frames
from workers.training.patch_selection import PatchNumbers, PatchSelection


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingPatches:
    """Patches with the labels of their groups, in device memory; channels last, as gathered batches are wanted.

    M patches are stored; N of them are seen, by their places from 0 to N - 1. 10-bit samples are stored as int16, which
    torch knows better than uint16.
    """

    inputs: Tensor
    """(M, patch_height + 2 * halo, patch_width + 2 * halo, C) uint8 or int16: of the decoded base frames"""
    targets: Tensor
    """(M, scale * patch_height, scale * patch_width, C) likewise: of the source; beyond it its edge is repeated"""
    groups: Tensor
    """(M,) uint8: the group of each patch"""
    seen: Tensor
    """(N,) int64: where each of the patches that are seen is stored"""
    base_bit_depth: BitDepth
    """Of the inputs."""
    bit_depth: BitDepth
    """Of the targets."""

    def __len__(self) -> int:
        return len(self.seen)

    def of_groups(self, groups: frozenset[int]) -> TrainingPatches:
        """Those of some groups alone, in the same order. The pixels are not copied."""
        wanted = torch.isin(self.groups[self.seen], torch.tensor(sorted(groups), device=self.groups.device))
        return replace(self, seen=self.seen[wanted])

    def input_pictures(self, places: Tensor) -> Tensor:
        """(B, C, H, W) float32 in [0, 1] of the patches at (B,) int64 places."""
        return _pictures(self.inputs[self.seen[places]], self.base_bit_depth)

    def target_pictures(self, places: Tensor) -> Tensor:
        """(B, C, h, w) float32 in [0, 1]."""
        return _pictures(self.targets[self.seen[places]], self.bit_depth)

    def group_labels(self, places: Tensor) -> Tensor:
        """(B,) uint8"""
        return self.groups[self.seen[places]]


def bytes_per_patch(layout: FrameLayout, channels: Channels) -> int:
    """Memory that one training patch takes."""
    grid, picture = _grid(layout), layout.picture
    inputs = (grid.patch_height + 2 * grid.halo) * (grid.patch_width + 2 * grid.halo)
    targets = picture.scale**2 * grid.patch_height * grid.patch_width
    input_size, target_size = (_sample_type(depth).itemsize for depth in (layout.base_bit_depth, picture.bit_depth))
    return (inputs * input_size + targets * target_size) * channel_count(channels)


def gather_patches(
    video: VideoFiles,
    selection: PatchSelection,
    *,
    channels: Channels,
    device: torch.device,
    sign_of_life: Callable[[], None],
) -> TrainingPatches:
    """Cut the patches out of the frames, in one pass.

    Args:
        sign_of_life: called after every frame.
    """
    layout = video.layout
    picture, grid = layout.picture, _grid(layout)
    patches = _empty_patches(selection, layout, channels=channels, device=device)
    target_grid = _target_grid(grid, scale=picture.scale)
    numbers = selection.numbers
    first_of_frame = np.searchsorted(numbers, np.arange(picture.frame_count + 1) * grid.patch_count)

    def store_frame(pair: FramePair) -> None:
        begin, end = first_of_frame[pair.number : pair.number + 2]
        if begin == end:
            return
        wanted: PatchNumbers = numbers[begin:end] - pair.number * grid.patch_count
        halves = ((pair.base, grid, patches.inputs), (pair.source, target_grid, patches.targets))
        for frame, frame_grid, stored in halves:
            cut = extract_patches(_pixels(frame, picture.colour, channels), frame_grid)[wanted]
            # The bits of uint16 samples are those of int16.
            stored[begin:end] = torch.from_numpy(cut if cut.dtype == np.uint8 else cut.view(np.int16)).to(device)

    for _ in map_frames(store_frame, video.frame_pairs()):
        sign_of_life()
    return patches


def _empty_patches(
    selection: PatchSelection, layout: FrameLayout, *, channels: Channels, device: torch.device
) -> TrainingPatches:
    picture, grid, count = layout.picture, _grid(layout), len(selection.numbers)
    planes = channel_count(channels)
    window = (grid.patch_height + 2 * grid.halo, grid.patch_width + 2 * grid.halo)
    target = (picture.scale * grid.patch_height, picture.scale * grid.patch_width)
    return TrainingPatches(
        inputs=torch.empty((count, *window, planes), dtype=_sample_type(layout.base_bit_depth), device=device),
        targets=torch.empty((count, *target, planes), dtype=_sample_type(picture.bit_depth), device=device),
        groups=torch.from_numpy(selection.groups).to(device),
        seen=torch.arange(count, device=device),
        base_bit_depth=layout.base_bit_depth,
        bit_depth=picture.bit_depth,
    )


def _grid(layout: FrameLayout) -> PatchGrid:
    assert layout.grid is not None, "networks are trained on patches"
    return layout.grid


def _target_grid(grid: PatchGrid, *, scale: int) -> PatchGrid:
    size = {"patch_width": scale * grid.patch_width, "patch_height": scale * grid.patch_height, "halo": 0}
    return grid.model_copy(update=size)


def _sample_type(bit_depth: BitDepth) -> torch.dtype:
    return torch.uint8 if bit_depth == 8 else torch.int16


def _pixels(frame: YuvFrame, colour: Colour, channels: Channels) -> Image:
    return yuv_to_rgb(frame, colour) if channels == "rgb" else frame.y[..., None]


def _pictures(patches: Tensor, bit_depth: BitDepth) -> Tensor:
    # (B, H, W, C) seen as (B, C, H, W) is the channels-last layout itself: nothing is copied for it.
    return patches.permute(0, 3, 1, 2).float().div_(peak(bit_depth))
