from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.encoding_settings import EncodingSettings
from core.presets import resolve_settings
from models.channels import Channels
from stdo.bundle.codecs import BitDepth
from stdo.bundle.geometry import patch_boxes, peak
from stdo.decoder.frames import yuv_to_rgb
from tests.workers.training.synthetic import COLOUR, layout_of, synthetic_video
from workers.base_stream.frame_pairs import VideoFiles
from workers.training.patch_selection import PatchSelection
from workers.training.patches import TrainingPatches, bytes_per_patch, gather_patches

CPU = torch.device("cpu")
NUMBERS = [0, 4, 9, 17, 27, 35]


def settings_of(**overrides: Any) -> EncodingSettings:
    return resolve_settings("fast", {"patches": {"width": 12, "height": 8, "halo": 3}, **overrides})


def gather(video: VideoFiles, channels: Channels = "rgb", numbers: list[int] = NUMBERS) -> TrainingPatches:
    signs: list[None] = []
    patches = gather_patches(
        video,
        PatchSelection(numbers=np.array(numbers), groups=np.arange(len(numbers), dtype=np.uint8) % 3),
        channels=channels,
        device=CPU,
        sign_of_life=lambda: signs.append(None),
    )
    assert len(signs) == 4
    return patches


@pytest.mark.parametrize("channels", ["rgb", "luma"])
@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize(("base_bit_depth", "bit_depth"), [(8, 8), (10, 8), (10, 10)])
def test_each_patch_is_the_right_window_of_both_frames(
    tmp_path: Path, channels: Channels, scale: int, base_bit_depth: BitDepth, bit_depth: BitDepth
) -> None:
    display = (30 * scale - 1, 20 * scale - 1)
    video = synthetic_video(
        tmp_path,
        settings_of(scale=scale),
        display=display,
        base_bit_depth=base_bit_depth,
        bit_depth=bit_depth,
    )
    layout = video.layout
    assert layout.grid is not None
    patches, pairs = gather(video, channels), list(video.frame_pairs())
    inputs, targets = (
        (255 if depth == 8 else 1023) * pictures.permute(0, 2, 3, 1).numpy()
        for depth, pictures in (
            (base_bit_depth, patches.input_pictures(torch.arange(6))),
            (bit_depth, patches.target_pictures(torch.arange(6))),
        )
    )
    assert inputs.shape[1:3] == (14, 18)
    assert targets.shape[1:3] == (8 * scale, 12 * scale)
    boxes = patch_boxes(layout.grid, base_width=30, base_height=20)
    for place, number in enumerate(NUMBERS):
        pair, box = pairs[number // 9], boxes[number % 9]
        base, source = (
            yuv_to_rgb(frame, COLOUR) if channels == "rgb" else frame.y[..., None] for frame in (pair.base, pair.source)
        )
        assert source.max() > peak(bit_depth) // 2
        rows = np.clip(np.arange(box.top - 3, box.top + 11), 0, 19)
        columns = np.clip(np.arange(box.left - 3, box.left + 15), 0, 29)
        assert np.array_equal(np.rint(inputs[place]), base[rows][:, columns])
        rows = np.clip(np.arange(scale * box.top, scale * (box.top + 8)), 0, 20 * scale - 1)
        columns = np.clip(np.arange(scale * box.left, scale * (box.left + 12)), 0, 30 * scale - 1)
        assert np.array_equal(np.rint(targets[place]), source[rows][:, columns])


def test_the_patches_of_some_groups_keep_order_and_pixels(tmp_path: Path) -> None:
    patches = gather(synthetic_video(tmp_path, settings_of()))
    some = patches.of_groups(frozenset({0, 2}))
    everything = torch.arange(4)
    assert some.group_labels(everything).tolist() == [0, 2, 0, 2]
    assert torch.equal(some.input_pictures(everything), patches.input_pictures(torch.tensor([0, 2, 3, 5])))
    assert torch.equal(some.target_pictures(everything), patches.target_pictures(torch.tensor([0, 2, 3, 5])))
    assert some.inputs.data_ptr() == patches.inputs.data_ptr()
    assert len(some) == 4
    assert len(patches.of_groups(frozenset({7}))) == 0


@pytest.mark.parametrize(("base_bit_depth", "bit_depth"), [(8, 8), (10, 8), (8, 10)])
@pytest.mark.parametrize("channels", ["rgb", "luma"])
def test_bytes_per_patch_are_what_the_tensors_take(
    tmp_path: Path, channels: Channels, base_bit_depth: BitDepth, bit_depth: BitDepth
) -> None:
    video = synthetic_video(tmp_path, settings_of(), base_bit_depth=base_bit_depth, bit_depth=bit_depth)
    patches = gather(video, channels)
    assert 6 * bytes_per_patch(video.layout, channels) == patches.inputs.nbytes + patches.targets.nbytes


def test_the_layout_of_the_tests_is_what_the_settings_ask_for() -> None:
    grid = layout_of(settings_of()).grid
    assert grid is not None
    assert (grid.columns, grid.rows, grid.halo) == (3, 3, 3)
