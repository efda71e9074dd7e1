"""Restoring single frames: geometry with networks that repeat pixels, depths, and patches as decoded."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stdo.bundle.codecs import BitDepth
from stdo.bundle.geometry import FrameLayout, Image
from stdo.bundle.manifest import Channels, Scale
from stdo.bundle.patch_index import AS_DECODED
from stdo.decoder.frame_restorer import FrameRestorer, as_decoded
from stdo.decoder.frames import plane_to_depth, yuv_to_rgb
from stdo.decoder.resize import resize_frame
from stdo.errors import VideoError
from tests.stdo.bundles import BT709, make_grid, make_picture, random_frame

EVERY_CHANNELS: list[Channels] = ["rgb", "luma", "yuv"]


class RepeatingUpscaler:
    """Repeats each pixel, in numpy; samples change their depth by shifts."""

    def __init__(self, scale: int, channels: Channels) -> None:
        self.scale = scale
        self.channels: Channels = channels
        self.largest_batch = 0

    def __call__(self, patches: Image, *, base_bit_depth: BitDepth, bit_depth: BitDepth) -> Image:
        self.largest_batch = max(self.largest_batch, len(patches))
        repeated = patches.repeat(self.scale, axis=1).repeat(self.scale, axis=2)
        return plane_to_depth(repeated, bit_depth=base_bit_depth, wanted=bit_depth)


def make_layout(
    *,
    size: tuple[int, int],
    scale: Scale = 2,
    patch: tuple[int, int] = (5, 4),
    halo: int = 2,
    base_bit_depth: BitDepth = 8,
    bit_depth: BitDepth = 8,
) -> FrameLayout:
    picture = make_picture(width=size[0], height=size[1], scale=scale, bit_depth=bit_depth)
    grid = make_grid(picture, width=patch[0], height=patch[1], halo=halo)
    return FrameLayout(picture=picture, grid=grid, base_bit_depth=base_bit_depth)


def _repeated(plane: Image, scale: int, layout: FrameLayout) -> Image:
    enlarged = plane.repeat(scale, axis=0).repeat(scale, axis=1)
    return plane_to_depth(enlarged, bit_depth=layout.base_bit_depth, wanted=layout.picture.bit_depth)


@settings(deadline=None, max_examples=90)
@given(
    scale=st.sampled_from([1, 2, 3, 4]),
    channels=st.sampled_from(EVERY_CHANNELS),
    depths=st.tuples(st.sampled_from([8, 10]), st.sampled_from([8, 10])),
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    patch=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    halo=st.integers(0, 4),
    seed=st.integers(0, 1000),
)
def test_identity_network_gives_the_same_frame_whatever_the_patches(
    scale: Scale,
    channels: Channels,
    depths: tuple[BitDepth, BitDepth],
    size: tuple[int, int],
    patch: tuple[int, int],
    halo: int,
    seed: int,
) -> None:
    width, height = size
    if channels == "yuv":
        patch, halo = (2 * patch[0], 2 * patch[1]), 2 * halo
    layout = make_layout(size=size, scale=scale, patch=patch, halo=halo, base_bit_depth=depths[0], bit_depth=depths[1])
    picture, grid = layout.picture, layout.grid
    assert grid is not None
    time = Fraction(seed, 7)
    base = random_frame(picture.base_width, picture.base_height, seed=seed, time=time, bit_depth=depths[0])
    numbers = np.random.default_rng(seed).integers(0, 3, grid.patch_count).astype(np.uint8)
    restored = FrameRestorer(layout, [RepeatingUpscaler(scale, channels)] * 3).restore(base, numbers)
    assert (restored.time, restored.bit_depth) == (time, depths[1])
    half = (-(-height // 2), -(-width // 2))
    if channels == "rgb":
        expected = _repeated(yuv_to_rgb(base, BT709), scale, layout)[:height, :width]
        np.testing.assert_array_equal(restored.rgb, expected)
    else:
        luma = _repeated(base.y, scale, layout)[:height, :width]
        if channels == "yuv":
            # Each of the four phases of Y is enlarged on its own.
            phases = base.y.reshape(base.y.shape[0] // 2, 2, base.y.shape[1] // 2, 2)
            mixed = phases.repeat(scale, axis=0).repeat(scale, axis=2).reshape(scale * base.y.shape[0], -1)
            luma = plane_to_depth(mixed, bit_depth=depths[0], wanted=depths[1])[:height, :width]
        np.testing.assert_array_equal(restored.luma, luma)
        chroma = as_decoded(base, layout).u if channels == "luma" else _repeated(base.u, scale, layout)
        np.testing.assert_array_equal(restored.yuv.u, chroma[: half[0], : half[1]])
    assert restored.rgb.shape == (height, width, 3)
    assert restored.luma.shape == restored.yuv.y.shape == (height, width)
    assert restored.yuv.v.shape == half


class Constant(RepeatingUpscaler):
    def __init__(self, level: int, channels: Channels = "luma") -> None:
        super().__init__(2, channels)
        self.level = level

    def __call__(self, patches: Image, *, base_bit_depth: BitDepth, bit_depth: BitDepth) -> Image:
        return np.full_like(super().__call__(patches, base_bit_depth=base_bit_depth, bit_depth=bit_depth), self.level)


def test_each_patch_is_restored_by_its_network() -> None:
    layout = make_layout(size=(30, 20))
    assert layout.grid is not None
    numbers = np.arange(layout.grid.patch_count, dtype=np.uint8) % 4
    restorer = FrameRestorer(layout, [Constant(level) for level in (10, 20, 30, 40)])
    luma = restorer.restore(random_frame(16, 10), numbers).luma
    expected = (numbers.reshape(layout.grid.rows, layout.grid.columns) + 1) * 10
    np.testing.assert_array_equal(luma, expected.repeat(8, axis=0).repeat(10, axis=1)[:20, :30])


@pytest.mark.parametrize("depths", [(8, 8), (8, 10), (10, 8), (10, 10)])
@pytest.mark.parametrize("channels", EVERY_CHANNELS)
def test_patches_as_decoded_show_the_plain_enlarged_frame(
    channels: Channels, depths: tuple[BitDepth, BitDepth]
) -> None:
    layout = make_layout(size=(29, 19), patch=(4, 6), base_bit_depth=depths[0], bit_depth=depths[1])
    assert layout.grid is not None
    base = random_frame(16, 10, seed=4, bit_depth=depths[0])
    numbers = np.where(np.arange(layout.grid.patch_count) % 2, AS_DECODED, 0).astype(np.uint8)
    restored = FrameRestorer(layout, [Constant(77, channels)]).restore(base, numbers)
    plain = resize_frame(base, scale=2, filter="bicubic").to_depth(depths[1]).cropped(width=29, height=19)
    is_decoded = (numbers == AS_DECODED).reshape(layout.grid.rows, layout.grid.columns)
    mask = is_decoded.repeat(12, axis=0).repeat(8, axis=1)[:19, :29]
    if channels == "rgb":
        np.testing.assert_array_equal(restored.rgb[mask], yuv_to_rgb(plain, BT709)[mask])
        assert (restored.rgb[~mask] == 77).all()
        return
    np.testing.assert_array_equal(restored.yuv.y[mask], plain.y[mask])
    assert (restored.yuv.y[~mask] == 77).all()
    half = np.ones((10, 15), np.bool_)
    if channels == "yuv":
        half = is_decoded.repeat(6, axis=0).repeat(4, axis=1)[:10, :15]
        assert (restored.yuv.v[~half] == 77).all()
    np.testing.assert_array_equal(restored.yuv.u[half], plain.u[half])


@pytest.mark.parametrize("channels", EVERY_CHANNELS)
def test_frame_wholly_as_decoded_keeps_its_planes(channels: Channels) -> None:
    """Also with `rgb` networks: a way through R'G'B' and back would lose something."""
    layout = make_layout(size=(21, 14), scale=1)
    assert layout.grid is not None
    base = random_frame(22, 14)
    numbers = np.full(layout.grid.patch_count, AS_DECODED, np.uint8)
    restored = FrameRestorer(layout, [Constant(77, channels)]).restore(base, numbers)
    np.testing.assert_array_equal(restored.yuv.y, base.y[:, :21])
    np.testing.assert_array_equal(restored.yuv.u, base.u)
    np.testing.assert_array_equal(restored.rgb, yuv_to_rgb(base.cropped(width=21, height=14), BT709))


def test_frame_without_a_grid_is_as_decoded() -> None:
    picture = make_picture(width=30, height=20, scale=2, bit_depth=8)
    layout = FrameLayout(picture=picture, grid=None, base_bit_depth=10)
    base = random_frame(16, 10, bit_depth=10)
    restored = FrameRestorer(layout, []).restore(base, np.empty(0, np.uint8))
    np.testing.assert_array_equal(restored.yuv.y, as_decoded(base, layout).y)
    assert restored.yuv.y.dtype == np.uint8


def test_batches_are_bounded() -> None:
    upscaler = RepeatingUpscaler(2, "rgb")
    layout = make_layout(size=(1920, 1080), patch=(48, 54), halo=4)
    assert layout.grid is not None
    FrameRestorer(layout, [upscaler]).restore(random_frame(960, 540), np.zeros(layout.grid.patch_count, np.uint8))
    assert upscaler.largest_batch * 56 * 62 <= 32_768


@pytest.mark.parametrize("channels", EVERY_CHANNELS)
def test_memory_follows_the_frame_and_not_the_patches(channels: Channels) -> None:
    """Together the windows of these patches have 299 times the pixels of the frame."""
    layout = make_layout(size=(640, 360), patch=(8, 8), halo=64)
    assert layout.grid is not None
    restorer = FrameRestorer(layout, [RepeatingUpscaler(2, channels)])
    frame, numbers = random_frame(320, 180), np.zeros(layout.grid.patch_count, np.uint8)
    tracemalloc.start()
    restorer.restore(frame, numbers)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 6_000_000


@pytest.mark.parametrize(
    ("frame", "found"),
    [(random_frame(20, 10), "20x10 with 8 bits"), (random_frame(16, 10, bit_depth=10), "16x10 with 10 bits")],
)
def test_frame_of_another_size_or_depth_is_refused(frame: object, found: str) -> None:
    restorer = FrameRestorer(make_layout(size=(30, 20)), [RepeatingUpscaler(2, "rgb")])
    with pytest.raises(VideoError, match=f"is {found} where the manifest says 16x10 with 8"):
        restorer.restore(frame, np.zeros(12, np.uint8))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "upscalers",
    [[RepeatingUpscaler(3, "rgb")], [RepeatingUpscaler(2, "rgb"), RepeatingUpscaler(2, "luma")]],
    ids=["another scale", "mixed channels"],
)
def test_networks_that_do_not_fit_the_picture_are_refused(upscalers: list[RepeatingUpscaler]) -> None:
    layout = make_layout(size=(30, 20))
    assert layout.grid is not None
    numbers = np.arange(layout.grid.patch_count, dtype=np.uint8) % len(upscalers)
    with pytest.raises(ValueError, match="networks of one picture"):
        FrameRestorer(layout, upscalers).restore(random_frame(16, 10), numbers)
