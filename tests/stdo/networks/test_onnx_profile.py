"""The closed profile of ONNX: every network of ours is inside, and nothing else gets through."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from models.registry import ARCHITECTURES, build_network
from stdo.errors import NetworkError
from stdo.networks.onnx_profile import MOST_BYTES, MOST_NODES, OPERATORS, check_profile
from stdo.networks.upscale import OnnxUpscaler
from tests.stdo.bundles import sharpening_network
from workers.delivery.onnx_graph import network_to_onnx
from workers.training.weight_rounding import Int8Weights, RoundedNetwork, int8_scales


def _rounded(network: Any) -> RoundedNetwork:
    weights = {}
    for name, value in network.state_dict().items():
        if value.ndim == 4:
            scales = int8_scales(value)
            weights[name] = Int8Weights(values=(value / scales[:, None, None, None]).round().char(), scales=scales)
    return RoundedNetwork(weights=weights, biases={})


@pytest.mark.parametrize(("scale", "precision"), [(1, "int8"), (2, "int8"), (3, "fp32"), (4, "fp16")])
@pytest.mark.parametrize("architecture", [known.name for known in ARCHITECTURES])
def test_every_network_that_the_service_makes_is_inside(architecture: str, scale: int, precision: Any) -> None:
    network = build_network(architecture, scale=scale, channels="luma")
    rounded = _rounded(network) if precision == "int8" else None
    check_profile(network_to_onnx(network, channels="luma", precision=precision, rounded=rounded))


def _model(
    *nodes: NodeProto,
    channels: int = 1,
    fixed: dict[str, Any] | None = None,
    opset: int = 17,
    ir_version: int = 8,
) -> ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "network",
        [helper.make_tensor_value_info("lr", TensorProto.FLOAT, ["b", channels, "h", "w"])],
        [helper.make_tensor_value_info("hr", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (fixed or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


def _node(operator: str, inputs: str, output: str = "hr", **attributes: Any) -> NodeProto:
    return helper.make_node(operator, ["" if name == "-" else name for name in inputs.split()], [output], **attributes)


def _weights(*shape: int) -> dict[str, Any]:
    return {"w": np.zeros(shape, np.float32)}


def _endless() -> ModelProto:
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Identity", ["x"], ["y"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("d", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
        ],
    )
    return _model(_node("Loop", "rounds - lr", body=body), fixed={"rounds": np.int64(2**62)})


def _resize(scales: list[float], **attributes: Any) -> ModelProto:
    settings = {"mode": "cubic", "coordinate_transformation_mode": "half_pixel", "cubic_coeff_a": -0.75, **attributes}
    return _model(_node("Resize", "lr - s", **settings), fixed={"s": np.array(scales, np.float32)})


def _kernel(*shape: int, **attributes: Any) -> ModelProto:
    padding = {"pads": [shape[2] // 2, shape[3] // 2] * 2}
    return _model(_node("Conv", "lr w", **{**padding, **attributes}), fixed=_weights(*shape))


FOREIGN = {
    "a loop": (_endless(), "an attribute has field 6, such as a graph of its own"),
    "a branch": (_model(_node("If", "lr")), "the operator If; those allowed are Conv, Relu,"),
    "another domain": (_model(_node("Gelu", "lr", domain="com.microsoft")), "an operator of the domain com.microsoft"),
    "a giant": (
        _model(_node("ConstantOfShape", "shape", "x"), _node("Add", "lr x"), fixed={"shape": np.array([1 << 40])}),
        "weights of ONNX's type 7",
    ),
    "too many nodes": (
        _model(*[_node("Relu", f"x{i}" if i else "lr", f"x{i + 1}") for i in range(2001)]),
        "it has 2001 nodes, more than 2000",
    ),
    "another opset": (_model(_node("Relu", "lr"), opset=18), "operators are those of ai.onnx 18"),
    "another IR version": (_model(_node("Relu", "lr"), ir_version=9), "its IR version is 9, not 8"),
    "no output": (_model(_node("Relu", "lr", "other")), "nothing computes its output"),
    "a fixed output": (_model(_node("Cast", "h", to=1), fixed={"h": np.float16(1)}), "nothing computes its output"),
    "an unknown name": (_model(_node("Relu", "later")), "reads 'later', which is no picture"),
    "a name for two things": (_model(_node("Relu", "lr", "lr"), _node("Relu", "lr")), "stands for two things"),
    "a strided convolution": (_kernel(1, 1, 3, 3, strides=[2, 2]), "Conv with another strides"),
    "a dilated convolution": (_kernel(1, 1, 3, 3, dilations=[2, 2]), "Conv with another dilations"),
    "a grouped convolution": (_kernel(2, 1, 3, 3, group=2), "Conv with another group"),
    "a convolution that shrinks": (_kernel(1, 1, 3, 3, pads=[0] * 4), "Conv with another pads"),
    "a convolution padded beyond measure": (_kernel(1, 1, 3, 3, pads=[1 << 30] * 4), "Conv with another pads"),
    "automatic padding": (_kernel(1, 1, 3, 3, auto_pad="SAME_UPPER"), "the attribute auto_pad of Conv"),
    "an even kernel": (_kernel(1, 1, 2, 2), "a convolution of 2x2"),
    "a huge kernel": (_kernel(1, 1, 33, 33), "a convolution of 33x33"),
    "too many channels": (_kernel(1025, 1, 1, 1), r"weights of the shape \(1025, 1, 1, 1\)"),
    "weights that are computed": (_model(_node("Conv", "lr lr", pads=[0] * 4)), "input 1 of Conv is not fixed"),
    "too many multiplications": (
        _model(
            *[_node("Conv", f"x{i} w" if i else "lr w", f"x{i + 1}" if i < 64 else "hr") for i in range(65)],
            channels=1024,
            fixed=_weights(1024, 1024, 1, 1),
        ),
        "multiply more than 67108864 times",
    ),
    "another order of depth": (_model(_node("DepthToSpace", "lr", blocksize=2)), "DepthToSpace with another mode"),
    "a large block": (_model(_node("DepthToSpace", "lr", blocksize=5, mode="CRD")), "blocks of 5"),
    "two enlargements": (
        _model(
            _node("DepthToSpace", "lr", "x", blocksize=4, mode="CRD"),
            _node("DepthToSpace", "x", blocksize=2, mode="CRD"),
            channels=64,
        ),
        "enlarges by 2, to 8 times",
    ),
    "a giant resize": (_resize([1, 1, 1e6, 1e6]), "Resize by anything but one whole number"),
    "a resize of the batch": (_resize([4, 1, 2, 2]), "Resize by anything but one whole number"),
    "another filter": (_resize([1, 1, 2, 2], mode="linear"), "Resize with another mode"),
    "another coefficient": (_resize([1, 1, 2, 2], cubic_coeff_a=-0.5), "Resize with another cubic_coeff_a"),
    "a sum with a large tensor": (
        _model(_node("Add", "lr w"), fixed=_weights(64, 1, 1, 1)),
        r"Add of a fixed tensor of the shape \(64, 1, 1, 1\)",
    ),
    "a picture in half precision": (_model(_node("Cast", "lr", to=10)), "Cast with another to"),
    "steps that don't fit": (
        _model(
            _node("DequantizeLinear", "q s", "w", axis=0),
            _node("Conv", "lr w", pads=[0] * 4),
            fixed={"q": np.zeros((2, 1, 1, 1), np.int8), "s": np.ones(1, np.float32)},
        ),
        "one factor for each output channel",
    ),
    "pictures of different shapes": (
        _model(_node("Conv", "lr w", "more", pads=[0] * 4), _node("Add", "lr more"), fixed=_weights(4, 1, 1, 1)),
        "Add of pictures of different shapes",
    ),
    "more numbers than channels": (
        _model(_node("Add", "lr w"), fixed=_weights(4, 1, 1)),
        r"Add of a fixed tensor of the shape \(4, 1, 1\)",
    ),
    "blocks that don't divide the channels": (
        _model(_node("DepthToSpace", "lr", mode="CRD", blocksize=2)),
        "DepthToSpace of 1 channels into blocks of 2",
    ),
}


@pytest.mark.parametrize(("model", "message"), FOREIGN.values(), ids=FOREIGN.keys())
def test_what_is_foreign_is_named(model: ModelProto, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        check_profile(model.SerializeToString())


def _external(model: ModelProto) -> None:
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="secret")


def _as_float_data(model: ModelProto) -> None:
    weights = model.graph.initializer[0]
    weights.float_data.extend(numpy_helper.to_array(weights).ravel().tolist())
    weights.ClearField("raw_data")


def _with_function(model: ModelProto) -> None:
    model.functions.add(name="f", domain="")


def _with_sparse_weights(model: ModelProto) -> None:
    model.graph.sparse_initializer.add(dims=[1 << 40])


def _with_second_input(model: ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, None))


def _with_half_output(model: ModelProto) -> None:
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16


def _with_longer_weights(model: ModelProto) -> None:
    model.graph.initializer[0].dims[0] += 1


def _with_second_domain(model: ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def _with_fixed_height(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 8


def _with_another_channel_count(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 2


def _with_an_attribute_twice(model: ModelProto) -> None:
    convolution = next(node for node in model.graph.node if node.op_type == "Conv")
    convolution.attribute.append(convolution.attribute[0])


CHANGES: dict[Callable[[ModelProto], None], str] = {
    _external: "weights in another file",
    _as_float_data: "weights that are not written as raw data",
    _with_function: "the model has field 25, such as functions",
    _with_sparse_weights: "the graph has field 15, such as sparse weights",
    _with_second_input: "reads one float tensor `lr`",
    _with_half_output: r"writes \[\('hr', 10\)\]",
    _with_longer_weights: "weights of the shape",
    _with_fixed_height: "its input `lr` has another shape",
    _with_another_channel_count: "reads a picture of 2",
    _with_an_attribute_twice: "a node with two attributes",
    _with_second_domain: "those of ai.onnx 17, com.microsoft 1",
}


@pytest.mark.parametrize(("change", "message"), CHANGES.items(), ids=[change.__name__ for change in CHANGES])
def test_a_good_network_with_one_thing_foreign_is_refused(change: Callable[[ModelProto], None], message: str) -> None:
    model = onnx.load_from_string(sharpening_network(2))
    check_profile(model.SerializeToString())
    change(model)
    with pytest.raises(NetworkError, match=message):
        check_profile(model.SerializeToString())


@pytest.mark.parametrize(
    "data", [b"", b"no network", b"\xff" * 64, b"\x3a\xff\xff\xff\xff\x0f", sharpening_network(2)[:-100], b"\0" * 4096]
)
def test_what_is_no_onnx_file_is_refused(data: bytes) -> None:
    with pytest.raises(NetworkError):
        check_profile(data)


def test_flipped_bytes_never_reach_a_traceback() -> None:
    """Each byte of the structure: either refused with a named error, or still inside of the profile."""
    good = sharpening_network(2, "luma", size=1)
    for place in range(len(good)):
        damaged = bytearray(good)
        damaged[place] ^= 0x55
        with suppress(NetworkError):
            check_profile(bytes(damaged))


def test_file_beyond_the_bound_is_not_read() -> None:
    with pytest.raises(NetworkError, match="more than 67108864"):
        check_profile(bytes(MOST_BYTES + 1))


def test_bounds_are_those_of_the_document() -> None:
    assert (MOST_BYTES, MOST_NODES) == (67_108_864, 2000)
    expected = "Conv Relu Add Sub DepthToSpace Resize Cast DequantizeLinear Constant"
    assert " ".join(OPERATORS) == expected


def test_runtime_never_sees_what_is_foreign(capfd: pytest.CaptureFixture[str]) -> None:
    """ONNX Runtime would write about damaged files on standard output."""
    damaged = bytearray(sharpening_network(2))
    damaged[40] ^= 0xFF
    with pytest.raises(NetworkError):
        OnnxUpscaler(bytes(damaged), scale=2, channels="rgb")
    assert capfd.readouterr().out == ""
