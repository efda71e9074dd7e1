"""The closed profile of ONNX that a bundle's networks keep to (docs/FORMAT.md, section 7.2).

A network comes from anyone. It is checked here before ONNX Runtime sees it: there is nothing in it but the few
operators below, and its memory and its work follow from the size of its input.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod

from stdo.networks.onnx_file import FLOAT, FLOAT16, INT8, Attribute, Node, OnnxFile, Tensor, foreign, read_onnx_file

OPSET = 17
IR_VERSION = 8
MOST_BYTES = 64 << 20
MOST_NODES = 2000
MOST_CHANNELS = 1024
LARGEST_KERNEL = 31
LARGEST_ENLARGEMENT = 4
MOST_MULTIPLICATIONS = 1 << 26
"""Of all convolutions, for one pixel of the input."""


@dataclass(frozen=True, kw_only=True)
class _Picture:
    """The input, or a tensor that depends on it."""

    channels: int
    enlargement: int
    """How much wider and higher than the input it is."""


@dataclass(kw_only=True)
class _Known:
    """What is known while the nodes are gone through in order."""

    weights: dict[str, Tensor]
    """Fixed tensors by name: stored ones, constants, and what Cast and DequantizeLinear make of them."""
    pictures: dict[str, _Picture]
    """Pictures by name."""
    multiplications: int = 0

    def picture(self, node: Node, place: int = 0) -> _Picture:
        """The picture that a node reads."""
        name = node.inputs[place]
        if name not in self.pictures:
            raise foreign(f"{node.operator} reads {name!r}, which is no picture that was computed before")
        return self.pictures[name]

    def fixed(self, node: Node, place: int, data_type: int) -> Tensor:
        """The weights that a node reads."""
        tensor = self.weights.get(node.inputs[place])
        if tensor is None or tensor.data_type != data_type:
            raise foreign(f"input {place} of {node.operator} is not fixed, or has another type than it must")
        return tensor


def check_profile(model: bytes) -> None:
    """Refuse a network that holds anything outside of the profile.

    Raises:
        NetworkError: it is no ONNX file; or the message names what is foreign in it.
    """
    check_byte_count(len(model))
    file = read_onnx_file(model)
    _check_frame(file)
    known = _Known(weights={tensor.name: tensor for tensor in file.weights}, pictures={"lr": _input(file)})
    names = ["lr", *(tensor.name for tensor in file.weights), *(node.output for node in file.nodes)]
    if len(set(names)) != len(names):
        raise foreign("a name stands for two things")
    for node in file.nodes:
        _check_node(node, known)
    if "hr" not in known.pictures:
        raise foreign("nothing computes its output `hr`")


def check_byte_count(byte_count: int) -> None:
    """Refuse a network of so many bytes if that is too long, which can be told before it is fetched.

    Raises:
        NetworkError: it is.
    """
    if byte_count > MOST_BYTES:
        raise foreign(f"it has {byte_count} bytes, more than {MOST_BYTES}")


def _check_frame(file: OnnxFile) -> None:
    if file.ir_version != IR_VERSION:
        raise foreign(f"its IR version is {file.ir_version}, not {IR_VERSION}")
    if file.opsets != (("", OPSET),):
        sets = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in file.opsets)
        raise foreign(f"its operators are those of {sets or 'no set'}, not of ai.onnx {OPSET} alone")
    if len(file.nodes) > MOST_NODES:
        raise foreign(f"it has {len(file.nodes)} nodes, more than {MOST_NODES}")
    inputs, outputs = ([(border.name, border.data_type) for border in side] for side in (file.inputs, file.outputs))
    if (inputs, outputs) != ([("lr", FLOAT)], [("hr", FLOAT)]):
        raise foreign(
            f"a network reads one float tensor `lr` and writes one, `hr`; this one reads {inputs} and writes "
            f"{outputs} (names and ONNX's numbers of types)"
        )


def _input(file: OnnxFile) -> _Picture:
    (border,) = file.inputs
    channels = border.dims[1] if len(border.dims) == 4 else None
    if channels is None or border.dims != (None, channels, None, None) or not 1 <= channels <= MOST_CHANNELS:
        raise foreign(
            "its input `lr` has another shape than (batch, channels, height, width), the channels alone fixed"
        )
    return _Picture(channels=channels, enlargement=1)


def _check_node(node: Node, known: _Known) -> None:
    if node.operator not in _OPERATORS:
        raise foreign(f"the operator {node.operator or '(none)'}; those allowed are {', '.join(_OPERATORS)}")
    rule = _OPERATORS[node.operator]
    if unknown := set(node.attributes) - set(rule.attributes):
        raise foreign(f"the attribute {', '.join(sorted(unknown))} of {node.operator}")
    if len(node.inputs) not in rule.input_counts:
        raise foreign(f"{node.operator} with {len(node.inputs)} inputs")
    rule.check(node, known)


def _convolution(node: Node, known: _Known) -> None:
    picture, weights = known.picture(node), known.fixed(node, 1, FLOAT)
    if len(weights.dims) != 4 or not 1 <= min(weights.dims) <= max(weights.dims) <= MOST_CHANNELS:
        raise foreign(f"a convolution with weights of the shape {weights.dims}")
    outputs, inputs, height, width = weights.dims
    if inputs != picture.channels:
        raise foreign(f"a convolution of {inputs} channels reads a picture of {picture.channels}")
    if not height % 2 == width % 2 == 1 or max(height, width) > LARGEST_KERNEL:
        raise foreign(f"a convolution of {height}x{width}")
    if len(node.inputs) == 3 and known.fixed(node, 2, FLOAT).dims != (outputs,):
        raise foreign("a convolution whose bias doesn't fit its weights")
    for name, needed in (
        ("kernel_shape", (height, width)),
        ("pads", (height // 2, width // 2, height // 2, width // 2)),
        ("strides", (1, 1)),
        ("dilations", (1, 1)),
        ("group", 1),
    ):
        _need(node, name, needed, default=(0, 0, 0, 0) if name == "pads" else needed)
    known.multiplications += prod(weights.dims) * picture.enlargement**2
    if known.multiplications > MOST_MULTIPLICATIONS:
        raise foreign(f"its convolutions multiply more than {MOST_MULTIPLICATIONS} times for a pixel")
    known.pictures[node.output] = replace(picture, channels=outputs)


def _rectifier(node: Node, known: _Known) -> None:
    known.pictures[node.output] = known.picture(node)


def _sum(node: Node, known: _Known) -> None:
    """Of two pictures, or of a picture and one number, or one number a channel."""
    pictures = [place for place in (0, 1) if node.inputs[place] not in known.weights]
    if not pictures:
        raise foreign(f"{node.operator} of two fixed tensors")
    picture = known.picture(node, pictures[0])
    if known.picture(node, pictures[-1]) != picture:
        raise foreign(f"{node.operator} of pictures of different shapes")
    for place in {0, 1} - set(pictures):
        dims = known.fixed(node, place, FLOAT).dims
        if len(dims) > 4 or (prod(dims) != 1 and dims not in _channel_shapes(picture.channels)):
            raise foreign(f"{node.operator} of a fixed tensor of the shape {dims}")
    known.pictures[node.output] = picture


def _channel_shapes(channels: int) -> tuple[tuple[int, ...], ...]:
    return (channels, 1, 1), (1, channels, 1, 1)


def _depth_to_space(node: Node, known: _Known) -> None:
    _need(node, "mode", b"CRD", default=b"DCR")
    block, channels = node.attributes.get("blocksize"), known.picture(node).channels
    if not isinstance(block, int) or not 1 <= block <= LARGEST_ENLARGEMENT or channels % block**2:
        raise foreign(f"DepthToSpace of {channels} channels into blocks of {block!r}")
    _enlarge(node, known, block, channels=channels // block**2)


def _resize(node: Node, known: _Known) -> None:
    for name, needed in (
        ("mode", b"cubic"),
        ("coordinate_transformation_mode", b"half_pixel"),
        ("cubic_coeff_a", struct.pack("<f", -0.75)),
    ):
        _need(node, name, needed, default=needed if name != "mode" else b"nearest")
    scales = known.fixed(node, 2, FLOAT)
    allowed = {struct.pack("<4f", 1, 1, scale, scale): scale for scale in range(1, LARGEST_ENLARGEMENT + 1)}
    if node.inputs[1] or scales.raw not in allowed:
        raise foreign("Resize by anything but one whole number for width and height")
    _enlarge(node, known, allowed[scales.raw], channels=known.picture(node).channels)


def _enlarge(node: Node, known: _Known, by: int, *, channels: int) -> None:
    enlargement = known.picture(node).enlargement * by
    if enlargement > LARGEST_ENLARGEMENT:
        raise foreign(f"{node.operator} enlarges by {by}, to {enlargement} times the input; it may be 1 to 4 times")
    known.pictures[node.output] = _Picture(channels=channels, enlargement=enlargement)


def _cast(node: Node, known: _Known) -> None:
    _need(node, "to", FLOAT, default=None)
    known.weights[node.output] = replace(known.fixed(node, 0, FLOAT16), data_type=FLOAT)


def _dequantize(node: Node, known: _Known) -> None:
    values, factors = known.fixed(node, 0, INT8), known.fixed(node, 1, FLOAT)
    _need(node, "axis", 0, default=1)
    if factors.dims != values.dims[:1]:
        raise foreign("DequantizeLinear without one factor for each output channel")
    known.weights[node.output] = replace(values, data_type=FLOAT)


def _constant(node: Node, known: _Known) -> None:
    value = node.attributes.get("value")
    if not isinstance(value, Tensor):
        raise foreign("a Constant that is no tensor")
    known.weights[node.output] = value


def _need(node: Node, name: str, needed: Attribute, *, default: Attribute | None) -> None:
    if node.attributes.get(name, default) != needed:
        raise foreign(f"{node.operator} with another {name} than {needed!r}")


@dataclass(frozen=True, kw_only=True)
class _Rule:
    """What one operator may look like."""

    input_counts: tuple[int, ...]
    attributes: tuple[str, ...]
    check: Callable[[Node, _Known], None]


_OPERATORS: Mapping[str, _Rule] = {
    "Conv": _Rule(
        input_counts=(2, 3), attributes=("dilations", "group", "kernel_shape", "pads", "strides"), check=_convolution
    ),
    "Relu": _Rule(input_counts=(1,), attributes=(), check=_rectifier),
    "Add": _Rule(input_counts=(2,), attributes=(), check=_sum),
    "Sub": _Rule(input_counts=(2,), attributes=(), check=_sum),
    "DepthToSpace": _Rule(input_counts=(1,), attributes=("blocksize", "mode"), check=_depth_to_space),
    "Resize": _Rule(
        input_counts=(3,),
        attributes=("coordinate_transformation_mode", "cubic_coeff_a", "mode", "nearest_mode"),
        check=_resize,
    ),
    "Cast": _Rule(input_counts=(1,), attributes=("to",), check=_cast),
    "DequantizeLinear": _Rule(input_counts=(2,), attributes=("axis",), check=_dequantize),
    "Constant": _Rule(input_counts=(0,), attributes=("value",), check=_constant),
}
OPERATORS = tuple(_OPERATORS)
"""The operators of the profile."""
