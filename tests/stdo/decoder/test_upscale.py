"""Networks behind the decoder's protocol, and the plain filters."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper

from stdo.decoder.upscale import OnnxUpscaler, resize_frame, resize_plane
from stdo.errors import NetworkError
from tests.stdo.bundles import Channels, convolution_network, nearest_network, random_frame, sharpening_network


def _model(
    nodes: list[Any], *, input_name: str = "lr", output_type: int = TensorProto.FLOAT, channels: int = 3
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, ["b", channels, "h", "w"])],
        [helper.make_tensor_value_info("hr", output_type, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def _samples(*shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("channels", ["rgb", "luma"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_nearest_network_repeats_pixels(scale: int, channels: Channels, tmp_path: Path) -> None:
    (tmp_path / "0.onnx").write_bytes(nearest_network(scale, channels))
    upscaler = OnnxUpscaler(tmp_path / "0.onnx", scale=scale, channels=channels, threads=1)
    patches = _samples(4, 7, 5, 3 if channels == "rgb" else 1)
    np.testing.assert_array_equal(upscaler(patches), patches.repeat(scale, axis=1).repeat(scale, axis=2))


def test_output_is_rounded_half_up_and_clipped() -> None:
    # Three networks in one: each output channel adds another constant, in 8-bit levels.
    bias = np.array([-0.5] * 4 + [0.49] * 4 + [300] * 4, np.float32) / np.float32(255)
    weights = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)[..., np.newaxis, np.newaxis]
    upscaler = OnnxUpscaler(convolution_network(weights, bias, scale=2), scale=2, channels="rgb")
    output = upscaler(np.array([0, 16, 200], np.uint8).reshape(1, 1, 1, 3))
    assert output[0, 0, 0].tolist() == [0, 16, 255]
    assert upscaler(np.array([1, 16, 200], np.uint8).reshape(1, 1, 1, 3))[0, 0, 0, 0] in (0, 1)


def test_result_does_not_depend_on_the_batch() -> None:
    upscaler = OnnxUpscaler(sharpening_network(2), scale=2, channels="rgb")
    patches = _samples(9, 12, 10, 3)
    singly = np.concatenate([upscaler(patches[number : number + 1]) for number in range(9)])
    np.testing.assert_array_equal(upscaler(patches), singly)


def test_nan_becomes_zero() -> None:
    nodes = [
        helper.make_node("Sub", ["lr", "lr"], ["zero"]),
        helper.make_node("Div", ["zero", "zero"], ["nan"]),
        helper.make_node("Concat", ["nan", "nan", "nan", "nan"], ["many"], axis=1),
        helper.make_node("DepthToSpace", ["many"], ["hr"], blocksize=2, mode="CRD"),
    ]
    output = OnnxUpscaler(_model(nodes), scale=2, channels="rgb")(_samples(1, 3, 3, 3))
    assert output.shape == (1, 6, 6, 3)
    assert not output.any()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (b"no network", "can't load the network"),
        (_model([helper.make_node("Identity", ["input"], ["hr"])], input_name="input"), "this one has .*'input'"),
        (
            _model([helper.make_node("Cast", ["lr"], ["hr"], to=TensorProto.FLOAT16)], output_type=TensorProto.FLOAT16),
            "float16",
        ),
    ],
    ids=["garbage", "input name", "output type"],
)
def test_network_that_breaks_the_contract_is_refused(model: bytes, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        OnnxUpscaler(model, scale=2, channels="rgb")


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
    with pytest.raises(NetworkError, match="can't load the network"):
        OnnxUpscaler(tmp_path / "0.onnx", scale=2, channels="luma")


def test_output_of_another_size_is_refused() -> None:
    upscaler = OnnxUpscaler(nearest_network(3), scale=2, channels="rgb")
    with pytest.raises(NetworkError, match=r"shape \(1, 3, 12, 12\) where the format demands \(1, 3, 8, 8\)"):
        upscaler(_samples(1, 4, 4, 3))


def test_failing_network_is_named() -> None:
    nodes = [helper.make_node("SpaceToDepth", ["lr"], ["hr"], blocksize=2)]
    with pytest.raises(NetworkError, match="patches of 5x3 pixels"):
        OnnxUpscaler(_model(nodes), scale=2, channels="rgb")(_samples(1, 3, 5, 3))


def test_patches_of_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="luma network"):
        OnnxUpscaler(nearest_network(2, "luma"), scale=2, channels="luma")(_samples(1, 4, 4, 3))


def _keys(t: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    t = np.abs(t)
    near, far = 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return np.where(t < 1, near, np.where(t < 2, far, 0))


def _lanczos(t: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(np.abs(t) < 3, np.sinc(t) * np.sinc(t / 3), 0)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("name", "kernel"), [("bicubic", _keys), ("lanczos", _lanczos)])
def test_filters_are_those_of_the_format(scale: int, name: Any, kernel: Any) -> None:
    def matrix(count: int) -> npt.NDArray[np.int64]:
        centres = (np.arange(scale * count) + 0.5) / scale
        weights = kernel(np.arange(count) + 0.5 - centres[:, np.newaxis])
        integers: npt.NDArray[np.int64] = np.rint(weights / weights.sum(axis=1, keepdims=True) * 2**22).astype(np.int64)
        return integers

    plane = _samples(13, 10)
    rows = np.clip((plane @ matrix(10).T + 2**21) >> 22, 0, 255)
    expected = np.clip((matrix(13) @ rows + 2**21) >> 22, 0, 255)
    np.testing.assert_array_equal(resize_plane(plane, scale=scale, filter=name), expected)


def test_resizing_a_frame_enlarges_each_plane() -> None:
    frame = random_frame(20, 12, time=Fraction(7, 5))
    enlarged = resize_frame(frame, scale=3, filter="bicubic")
    assert enlarged.time == frame.time
    assert enlarged.y.shape == (36, 60)
    np.testing.assert_array_equal(enlarged.u, resize_plane(frame.u, scale=3, filter="bicubic"))
