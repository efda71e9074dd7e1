"""Networks behind the decoder's protocol."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from stdo.bundle.codecs import BitDepth
from stdo.bundle.geometry import Image, peak, sample_type
from stdo.bundle.manifest import Channels
from stdo.errors import NetworkError
from stdo.networks.upscale import CHANNEL_COUNTS, OnnxUpscaler
from tests.stdo.bundles import convolution_network, nearest_network, sharpening_network


def _samples(*shape: int, bit_depth: BitDepth = 8) -> Image:
    return np.random.default_rng(0).integers(0, peak(bit_depth) + 1, shape).astype(sample_type(bit_depth))


def _at_8_bits(upscaler: OnnxUpscaler, patches: Image) -> Image:
    return upscaler(patches, base_bit_depth=8, bit_depth=8)


@pytest.mark.parametrize("bit_depth", [8, 10])
@pytest.mark.parametrize("channels", ["rgb", "luma", "yuv"])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_nearest_network_repeats_pixels(scale: int, channels: Channels, bit_depth: BitDepth, tmp_path: Path) -> None:
    (tmp_path / "0.onnx").write_bytes(nearest_network(scale, channels))
    upscaler = OnnxUpscaler(tmp_path / "0.onnx", scale=scale, channels=channels, threads=1)
    patches = _samples(4, 7, 5, CHANNEL_COUNTS[channels], bit_depth=bit_depth)
    restored = upscaler(patches, base_bit_depth=bit_depth, bit_depth=bit_depth)
    assert restored.dtype == patches.dtype
    np.testing.assert_array_equal(restored, patches.repeat(scale, axis=1).repeat(scale, axis=2))


@pytest.mark.parametrize(("base_bit_depth", "bit_depth"), [(8, 10), (10, 8)])
def test_depth_changes_by_the_ratio_of_the_peaks(base_bit_depth: BitDepth, bit_depth: BitDepth) -> None:
    upscaler = OnnxUpscaler(nearest_network(1, "luma"), scale=1, channels="luma")
    levels = np.arange(peak(base_bit_depth) + 1).astype(sample_type(base_bit_depth)).reshape(1, 4, -1, 1)
    restored = upscaler(levels, base_bit_depth=base_bit_depth, bit_depth=bit_depth)
    exact = levels * (peak(bit_depth) / peak(base_bit_depth))
    assert restored.dtype == sample_type(bit_depth)
    assert np.abs(restored - exact).max() <= 0.5 + 1e-6
    assert restored.max() == peak(bit_depth)


def test_provider_that_is_not_there_is_refused() -> None:
    with pytest.raises(NetworkError, match=r"has no NoSuchProvider\. It has .*CPUExecutionProvider"):
        OnnxUpscaler(nearest_network(2), scale=2, channels="rgb", providers=("NoSuchProvider",))


def test_output_is_rounded_half_up_and_clipped() -> None:
    # Three networks in one: each output channel adds another constant, in 8-bit levels.
    bias = np.array([-0.5] * 4 + [0.49] * 4 + [300] * 4, np.float32) / np.float32(255)
    weights = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)[..., np.newaxis, np.newaxis]
    upscaler = OnnxUpscaler(convolution_network(weights, bias, scale=2), scale=2, channels="rgb")
    output = _at_8_bits(upscaler, np.array([0, 16, 200], np.uint8).reshape(1, 1, 1, 3))
    assert output[0, 0, 0].tolist() == [0, 16, 255]
    assert _at_8_bits(upscaler, np.array([1, 16, 200], np.uint8).reshape(1, 1, 1, 3))[0, 0, 0, 0] in (0, 1)


def test_result_does_not_depend_on_the_batch() -> None:
    upscaler = OnnxUpscaler(sharpening_network(2), scale=2, channels="rgb")
    patches = _samples(9, 12, 10, 3)
    singly = np.concatenate([_at_8_bits(upscaler, patches[number : number + 1]) for number in range(9)])
    np.testing.assert_array_equal(_at_8_bits(upscaler, patches), singly)


def test_nan_becomes_zero() -> None:
    not_a_number = np.full(12, np.nan, np.float32)
    network = convolution_network(np.zeros((12, 3, 1, 1), np.float32), not_a_number, scale=2)
    output = _at_8_bits(OnnxUpscaler(network, scale=2, channels="rgb"), _samples(1, 3, 3, 3))
    assert output.shape == (1, 6, 6, 3)
    assert not output.any()


@pytest.mark.parametrize("location", ["secret", "{folder}/secret", "folder/../secret", "../{name}/secret"])
def test_network_cannot_read_other_files(location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_bytes(bytes(4 * 36))
    (tmp_path / "folder").mkdir()
    model = onnx.load_from_string(sharpening_network(2, "luma", size=3))
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location.format(folder=tmp_path, name=tmp_path.name))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(NetworkError, match="weights in another file"):
        OnnxUpscaler(tmp_path / "0.onnx", scale=2, channels="luma")


def test_output_of_another_size_is_refused() -> None:
    upscaler = OnnxUpscaler(nearest_network(3), scale=2, channels="rgb")
    with pytest.raises(NetworkError, match=r"shape \(1, 3, 12, 12\) where the format demands \(1, 3, 8, 8\)"):
        _at_8_bits(upscaler, _samples(1, 4, 4, 3))


def test_failing_network_is_named() -> None:
    upscaler = OnnxUpscaler(nearest_network(2, "luma"), scale=2, channels="rgb")
    with pytest.raises(NetworkError, match="patches of 5x3 pixels"):
        _at_8_bits(upscaler, _samples(1, 3, 5, 3))


def test_patches_of_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="luma network"):
        _at_8_bits(OnnxUpscaler(nearest_network(2, "luma"), scale=2, channels="luma"), _samples(1, 4, 4, 3))
