"""The decoder: geometry with networks that repeat pixels, frame ranges, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stdo
from stdo.bundle.manifest import Scale
from stdo.decoder.frames import Image, decode_video, yuv_to_rgb
from stdo.decoder.reconstruction import FrameRestorer
from stdo.decoder.upscale import Channels, resize_plane
from stdo.errors import DamagedBundleError, FrameRangeError, MalformedPatchIndexError, NetworkError, VideoError
from tests.stdo.bundles import (
    BT709,
    make_grid,
    make_picture,
    moving_frames,
    nearest_network,
    random_frame,
    write_base_stream,
    write_bundle,
    write_small_bundle,
)


class RepeatingUpscaler:
    """Repeats each pixel, in numpy."""

    def __init__(self, scale: int, channels: Channels) -> None:
        self.scale = scale
        self.channels: Channels = channels
        self.largest_batch = 0

    def __call__(self, patches: Image) -> Image:
        self.largest_batch = max(self.largest_batch, len(patches))
        return patches.repeat(self.scale, axis=1).repeat(self.scale, axis=2)


@settings(deadline=None, max_examples=60)
@given(
    scale=st.sampled_from([2, 3, 4]),
    channels=st.sampled_from(["rgb", "luma"]),
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    patch=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    halo=st.integers(0, 8),
    seed=st.integers(0, 1000),
)
def test_identity_network_gives_the_same_frame_whatever_the_patches(
    scale: Scale, channels: Channels, size: tuple[int, int], patch: tuple[int, int], halo: int, seed: int
) -> None:
    width, height = size
    picture = make_picture(width=width, height=height, scale=scale)
    grid = make_grid(picture, width=patch[0], height=patch[1], halo=halo)
    lr = random_frame(picture.base_width, picture.base_height, seed=seed, time=Fraction(seed, 7))
    numbers = np.random.default_rng(seed).integers(0, 3, grid.rows * grid.columns).astype(np.uint8)
    restored = FrameRestorer(picture, grid, [RepeatingUpscaler(scale, channels)] * 3).restore(lr, numbers)
    assert restored.time == lr.time
    if channels == "rgb":
        enlarged = yuv_to_rgb(lr, BT709).repeat(scale, axis=0).repeat(scale, axis=1)
        np.testing.assert_array_equal(restored.rgb, enlarged[:height, :width])
    else:
        enlarged = lr.y.repeat(scale, axis=0).repeat(scale, axis=1)
        np.testing.assert_array_equal(restored.luma, enlarged[:height, :width])
        chroma = resize_plane(lr.u, scale=scale, filter="bicubic")[: -(-height // 2), : -(-width // 2)]
        np.testing.assert_array_equal(restored.yuv.u, chroma)
    assert restored.rgb.shape == (height, width, 3)
    assert restored.luma.shape == restored.yuv.y.shape == (height, width)


def test_each_patch_is_restored_by_its_network() -> None:
    class Constant(RepeatingUpscaler):
        def __init__(self, level: int) -> None:
            super().__init__(2, "luma")
            self.level = level

        def __call__(self, patches: Image) -> Image:
            return np.full_like(super().__call__(patches), self.level)

    picture = make_picture(width=30, height=20, scale=2)
    grid = make_grid(picture, width=5, height=4, halo=2)
    numbers = np.arange(grid.rows * grid.columns, dtype=np.uint8) % 4
    restorer = FrameRestorer(picture, grid, [Constant(level) for level in (10, 20, 30, 40)])
    luma = restorer.restore(random_frame(16, 10), numbers).luma
    expected = (numbers.reshape(grid.rows, grid.columns) + 1) * 10
    np.testing.assert_array_equal(luma, expected.repeat(8, axis=0).repeat(10, axis=1)[:20, :30])


def test_batches_are_bounded() -> None:
    upscaler = RepeatingUpscaler(2, "rgb")
    picture = make_picture(width=1920, height=1080, scale=2)
    grid = make_grid(picture, width=48, height=54, halo=4)
    lr = random_frame(picture.base_width, picture.base_height)
    FrameRestorer(picture, grid, [upscaler]).restore(lr, np.zeros(grid.rows * grid.columns, np.uint8))
    assert upscaler.largest_batch * 56 * 62 <= 32_768


def test_frame_of_another_size_is_refused() -> None:
    picture = make_picture(width=30, height=20, scale=2)
    grid = make_grid(picture, width=5, height=4, halo=0)
    restorer = FrameRestorer(picture, grid, [RepeatingUpscaler(2, "rgb")])
    with pytest.raises(VideoError, match="is 20x10 where the manifest says 16x10"):
        restorer.restore(random_frame(20, 10), np.zeros(grid.rows * grid.columns, np.uint8))


@pytest.mark.parametrize(
    "upscalers",
    [
        [],
        [RepeatingUpscaler(3, "rgb")],
        [RepeatingUpscaler(2, "rgb"), RepeatingUpscaler(2, "luma")],
    ],
    ids=["none", "another scale", "mixed channels"],
)
def test_networks_that_do_not_fit_the_picture_are_refused(upscalers: list[RepeatingUpscaler]) -> None:
    picture = make_picture(width=30, height=20, scale=2)
    with pytest.raises(ValueError, match="networks of one picture"):
        FrameRestorer(picture, make_grid(picture, width=5, height=4, halo=0), upscalers)


UNEVEN_TIMES = [Fraction(tick, 12_800) for tick in (100, 612, 1000, 1900, 2000, 5000, 5001)]


@pytest.fixture(scope="module")
def nearest_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    return write_small_bundle(folder, times=UNEVEN_TIMES, networks=[nearest_network(2)], halo=3)


def test_bundle_restores_every_frame_at_its_own_time(nearest_bundle: Path) -> None:
    with stdo.open_bundle(nearest_bundle) as bundle:
        frames = list(stdo.reconstruct(bundle))
    assert [frame.time for frame in frames] == UNEVEN_TIMES
    for frame, lr in zip(frames, decode_video(nearest_bundle / "base.mp4"), strict=True):
        expected = yuv_to_rgb(lr, BT709).repeat(2, axis=0).repeat(2, axis=1)[:29, :45]
        np.testing.assert_array_equal(frame.rgb, expected)


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (1, 2), (3, 7), (2, 5), (6, 7)])
def test_part_of_a_bundle_is_the_same_as_in_the_whole(start: int, stop: int, tmp_path: Path) -> None:
    options = {"qp": "20", "bf": "2", "x264-params": "b-adapt=0:keyint=3"}
    folder = write_small_bundle(tmp_path, times=UNEVEN_TIMES, base_stream_options=options)
    with stdo.open_bundle(folder) as bundle:
        whole = list(stdo.reconstruct(bundle))
        part = list(stdo.reconstruct(bundle, frames=range(start, stop)))
    for frame, expected in zip(part, whole[start:stop], strict=True):
        assert frame.time == expected.time
        np.testing.assert_array_equal(frame.rgb, expected.rgb)


@pytest.mark.parametrize("frames", [range(8), range(-1, 2), range(3, 3), range(5, 2), range(0, 4, 2), range(7, 8)])
def test_frames_that_are_not_there_are_refused(frames: range, nearest_bundle: Path) -> None:
    with stdo.open_bundle(nearest_bundle) as bundle, pytest.raises(FrameRangeError, match="it has frames 0:7"):
        stdo.reconstruct(bundle, frames=frames)


def test_other_upscalers_plug_in(nearest_bundle: Path) -> None:
    with stdo.open_bundle(nearest_bundle) as bundle:
        own = next(stdo.reconstruct(bundle))
        other = next(stdo.reconstruct(bundle, upscalers=[RepeatingUpscaler(2, "rgb")]))
        with pytest.raises(ValueError, match="one upscaler for each network"):
            stdo.reconstruct(bundle, upscalers=[RepeatingUpscaler(2, "rgb")] * 2)
    np.testing.assert_array_equal(own.rgb, other.rgb)


def _rewrite_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "manifest.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


@pytest.mark.parametrize(("frames_in_stream", "message"), [(3, "ends before frame 5"), (6, "more frames than the 5")])
def test_stream_with_another_number_of_frames_is_refused(frames_in_stream: int, message: str, tmp_path: Path) -> None:
    picture = make_picture(width=24, height=16, scale=2, frame_count=5)
    grid = make_grid(picture, width=6, height=8, halo=1)
    times = [Fraction(number, 25) for number in range(frames_in_stream)]
    write_base_stream(tmp_path / "base.mp4", moving_frames(picture, times))
    numbers = np.zeros((5, grid.rows * grid.columns), np.uint8)
    write_bundle(tmp_path, picture=picture, grid=grid, networks=[nearest_network(2)], numbers=numbers)
    with stdo.open_bundle(tmp_path) as bundle, pytest.raises(DamagedBundleError, match=message):
        list(stdo.reconstruct(bundle))


def test_patch_index_that_names_a_missing_network_is_refused(tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path)
    _rewrite_manifest(folder, lambda document: document["networks"].pop())
    with stdo.open_bundle(folder) as bundle, pytest.raises(MalformedPatchIndexError, match="names network 1"):
        list(stdo.reconstruct(bundle))


def test_network_of_another_scale_is_refused(tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path, networks=[nearest_network(3)])
    with stdo.open_bundle(folder) as bundle, pytest.raises(NetworkError, match="where the format demands"):
        list(stdo.reconstruct(bundle))


def test_frames_are_restored_as_they_are_asked_for(nearest_bundle: Path) -> None:
    with stdo.open_bundle(nearest_bundle) as bundle:
        upscaler = RepeatingUpscaler(2, "rgb")
        frames = stdo.reconstruct(bundle, upscalers=[upscaler])
        assert upscaler.largest_batch == 0
        next(frames)
        assert upscaler.largest_batch > 0
