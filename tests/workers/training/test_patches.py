from __future__ import annotations

from fractions import Fraction
from typing import Literal

import numpy as np
import pytest
import torch

from core.presets import EncodingSettings, resolve_settings
from stdo.bundle.geometry import make_patch_grid, patch_boxes
from stdo.bundle.manifest import Colour, Picture, Rational
from stdo.decoder.frames import YuvFrame, yuv_to_rgb
from workers.base_stream.frame_pairs import FramePair, patch_grid
from workers.training.groups import GroupPlan
from workers.training.patches import (
    PatchNumbers,
    TrainingPatches,
    bytes_per_patch,
    gather_patches,
    select_patches,
)

COLOUR = Colour(matrix="bt709", range="limited", primaries="bt709", transfer="bt709")
PICTURE = Picture(
    scale=2,
    display_width=57,
    display_height=38,
    base_width=30,
    base_height=20,
    frame_count=4,
    average_frame_rate=Rational(numerator=25, denominator=1),
    variable_frame_rate=False,
    duration_seconds=0.16,
    colour=COLOUR,
)


def noise_frame(width: int, height: int, seed: int) -> YuvFrame:
    random = np.random.default_rng(seed)
    y = random.integers(16, 236, (height, width), np.uint8)
    u, v = random.integers(16, 241, (2, height // 2, width // 2), np.uint8)
    return YuvFrame(y=y, u=u, v=v, time=Fraction(0))


PAIRS = [
    FramePair(number=number, base=noise_frame(30, 20, number), source=noise_frame(60, 40, 100 + number))
    for number in range(4)
]
GRID = make_patch_grid(base_width=30, base_height=20, patch_width=12, patch_height=8, halo=3)


def gather(numbers: PatchNumbers, channels: Literal["rgb", "luma"]) -> TrainingPatches:
    signs: list[None] = []
    patches = gather_patches(
        PAIRS,
        numbers,
        picture=PICTURE,
        grid=GRID,
        channels=channels,
        device=torch.device("cpu"),
        sign_of_life=lambda: signs.append(None),
    )
    assert len(signs) == len(PAIRS)
    return patches


@pytest.mark.parametrize("channels", ["rgb", "luma"])
def test_each_patch_is_the_right_window_of_both_frames(channels: Literal["rgb", "luma"]) -> None:
    numbers = np.array([0, 4, 9, 17, 27, 35])
    patches = gather(numbers, channels)
    assert len(patches) == len(numbers)
    assert patches.low_res.shape[1:3] == (14, 18)
    assert patches.high_res.shape[1:3] == (16, 24)
    boxes = patch_boxes(GRID, base_width=30, base_height=20)
    for place, number in enumerate(numbers):
        pair, box = PAIRS[number // 9], boxes[number % 9]
        low_res, source = (
            yuv_to_rgb(frame, COLOUR) if channels == "rgb" else frame.y[..., None] for frame in (pair.base, pair.source)
        )
        rows = np.clip(np.arange(box.top - 3, box.top + 11), 0, 19)
        columns = np.clip(np.arange(box.left - 3, box.left + 15), 0, 29)
        assert np.array_equal(patches.low_res[place].numpy(), low_res[rows][:, columns])
        rows = np.clip(np.arange(2 * box.top, 2 * box.top + 16), 0, 39)
        columns = np.clip(np.arange(2 * box.left, 2 * box.left + 24), 0, 59)
        assert np.array_equal(patches.high_res[place].numpy(), source[rows][:, columns])


def plan_of(network_of_patch: object) -> GroupPlan:
    index = np.asarray(network_of_patch, dtype=np.uint8)
    return GroupPlan(group_of_patch=index, network_of_patch=index)


def settings_of(**overrides: object) -> EncodingSettings:
    return resolve_settings("fast", overrides)


def test_separate_networks_are_trained_on_their_own_group() -> None:
    plan = plan_of([[0, 1, 0], [1, 1, 0]])
    settings = settings_of(groups={"count": 2})
    assert select_patches(plan, settings, network_number=0, patch_bytes=1).tolist() == [0, 2, 5]
    assert select_patches(plan, settings, network_number=1, patch_bytes=1).tolist() == [1, 3, 4]


def test_the_joint_network_is_trained_on_the_joint_set() -> None:
    plan = plan_of(np.repeat(np.arange(4), 10).reshape(8, 5))
    numbers = select_patches(plan, settings_of(method="jstdo"), network_number=0, patch_bytes=1)
    assert np.bincount(plan.group_of_patch.ravel()[numbers], minlength=4).tolist() == [10, 7, 3, 0]


def test_the_memory_budget_thins_the_patches_evenly() -> None:
    plan = plan_of(np.zeros((100, 9)))
    settings = settings_of(method="awdnn", training={"patch_memory_mib": 16})
    numbers = select_patches(plan, settings, network_number=0, patch_bytes=2**20)
    assert len(numbers) == 16
    assert set(np.diff(numbers)) <= {56, 57}


def test_bytes_per_patch_are_what_the_tensors_take() -> None:
    patches = gather(np.arange(5), "rgb")
    assert 5 * bytes_per_patch(GRID, scale=2, channels="rgb") == patches.low_res.nbytes + patches.high_res.nbytes
    assert bytes_per_patch(GRID, scale=2, channels="luma") * 3 == bytes_per_patch(GRID, scale=2, channels="rgb")


def test_the_grid_is_the_settings_one_but_for_an_own_halo() -> None:
    settings = settings_of(patches={"width": 12, "height": 8, "halo": 3})
    assert patch_grid(PICTURE, settings) == GRID
    assert patch_grid(PICTURE, settings, halo=4) == GRID.model_copy(update={"halo": 4})
