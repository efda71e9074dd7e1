"""The pixels that one network is trained on: patches of the decoded low-resolution frames and of the source."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from core.presets import EncodingSettings
from stdo.bundle.geometry import Image, extract_patches
from stdo.bundle.manifest import Colour, PatchGrid, Picture
from stdo.decoder.frames import YuvFrame, yuv_to_rgb
from workers.base_stream.frame_pairs import FramePair
from workers.training.frame_threads import map_frames
from workers.training.groups import GroupPlan
from workers.training.joint_set import sample_joint_set

PatchNumbers = npt.NDArray[np.int64]
"""Flat numbers of patches in the video, frame * (rows * columns) + patch, ascending."""
_MIB = 2**20


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingPatches:
    """Patches of one network, in device memory. N patches; channels last, as gathered batches are wanted."""

    low_res: Tensor
    """(N, patch_height + 2 * halo, patch_width + 2 * halo, C) uint8"""
    high_res: Tensor
    """(N, scale * patch_height, scale * patch_width, C) uint8; beyond the picture its edge is repeated"""

    def __len__(self) -> int:
        return len(self.low_res)


def select_patches(
    plan: GroupPlan, settings: EncodingSettings, *, network_number: int, patch_bytes: int
) -> PatchNumbers:
    """The patches that a network is trained on: its group's, or the joint set; thinned evenly to fit the memory budget.

    Args:
        patch_bytes: memory that one patch takes, low and high resolution together.
    """
    if settings.sharing == "joint":
        numbers = sample_joint_set(plan.group_of_patch, settings.group_count, settings.training, seed=settings.seed)
    else:
        numbers = np.flatnonzero(plan.network_of_patch.ravel() == network_number)
    room = max(1, settings.training.patch_memory_mib * _MIB // patch_bytes)
    if len(numbers) <= room:
        return numbers
    return numbers[np.arange(room) * len(numbers) // room]


def bytes_per_patch(grid: PatchGrid, *, scale: int, channels: Literal["rgb", "luma"]) -> int:
    """Memory that one training patch takes."""
    low_res = (grid.patch_height + 2 * grid.halo) * (grid.patch_width + 2 * grid.halo)
    high_res = scale**2 * grid.patch_height * grid.patch_width
    return (low_res + high_res) * (3 if channels == "rgb" else 1)


def gather_patches(
    frames: Iterable[FramePair],
    numbers: PatchNumbers,
    *,
    picture: Picture,
    grid: PatchGrid,
    channels: Literal["rgb", "luma"],
    device: torch.device,
    sign_of_life: Callable[[], None],
) -> TrainingPatches:
    """Cut the patches out of the frames, in one pass.

    Args:
        frames: of the whole video, in order.
        sign_of_life: called after every frame.
    """
    store = _empty_store(len(numbers), picture=picture, grid=grid, channels=channels, device=device)
    high_res_grid = _high_res_grid(grid, scale=picture.scale)
    patches_per_frame = grid.rows * grid.columns
    first_of_frame = np.searchsorted(numbers, np.arange(picture.frame_count + 1) * patches_per_frame)

    def store_frame(pair: FramePair) -> None:
        begin, end = first_of_frame[pair.number : pair.number + 2]
        if begin == end:
            return
        wanted = numbers[begin:end] - pair.number * patches_per_frame
        halves = ((pair.base, grid, store.low_res), (pair.source, high_res_grid, store.high_res))
        for frame, frame_grid, patches in halves:
            cut = extract_patches(_pixels(frame, picture.colour, channels), frame_grid)[wanted]
            patches[begin:end] = torch.from_numpy(cut).to(device)

    for _ in map_frames(store_frame, frames):
        sign_of_life()
    return store


def _empty_store(
    count: int, *, picture: Picture, grid: PatchGrid, channels: Literal["rgb", "luma"], device: torch.device
) -> TrainingPatches:
    planes = 3 if channels == "rgb" else 1
    window = (grid.patch_height + 2 * grid.halo, grid.patch_width + 2 * grid.halo)
    target = (picture.scale * grid.patch_height, picture.scale * grid.patch_width)
    return TrainingPatches(
        low_res=torch.empty((count, *window, planes), dtype=torch.uint8, device=device),
        high_res=torch.empty((count, *target, planes), dtype=torch.uint8, device=device),
    )


def _high_res_grid(grid: PatchGrid, *, scale: int) -> PatchGrid:
    size = {"patch_width": scale * grid.patch_width, "patch_height": scale * grid.patch_height, "halo": 0}
    return grid.model_copy(update=size)


def _pixels(frame: YuvFrame, colour: Colour, channels: Literal["rgb", "luma"]) -> Image:
    return yuv_to_rgb(frame, colour) if channels == "rgb" else frame.y[..., None]
