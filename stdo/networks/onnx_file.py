"""What an ONNX file holds, as far as the format's profile of ONNX goes (docs/FORMAT.md, section 7.2).

Whatever the profile has no use for, such as functions, graphs inside of nodes, or weights in other files, is refused
while reading: nothing is skipped that ONNX Runtime would act on. Numbers of fields are those of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

from stdo.errors import NetworkError

FLOAT, INT8, FLOAT16 = 1, 3, 10
"""ONNX's numbers of element types."""
_VALUE_BYTES = {FLOAT: 4, INT8: 1, FLOAT16: 2}
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
"""How Protocol Buffers write a field."""
_Value = int | bytes
"""What a field holds."""


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """Weights, or a constant."""

    name: str
    data_type: int
    dims: tuple[int, ...]
    raw: bytes
    """The values, little-endian."""


Attribute = int | bytes | tuple[int, ...] | Tensor
"""A whole number, a float as its four bytes or a string, a list of whole numbers, or a tensor."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One operator at work."""

    operator: str
    inputs: tuple[str, ...]
    """Names; empty where one is left out."""
    output: str
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True, kw_only=True)
class Border:
    """The input or output of a model."""

    name: str
    data_type: int
    """0 where it is no plain tensor."""
    dims: tuple[int | None, ...]
    """None where a size is not fixed."""


@dataclass(frozen=True, kw_only=True)
class OnnxFile:
    """A model."""

    ir_version: int
    opsets: tuple[tuple[str, int], ...]
    """Domain ("" is the standard one) and version of each."""
    nodes: tuple[Node, ...]
    weights: tuple[Tensor, ...]
    inputs: tuple[Border, ...]
    outputs: tuple[Border, ...]


def foreign(what: str) -> NetworkError:
    """The error for what is outside of the profile."""
    return NetworkError(
        f"The network is outside of the format's profile of ONNX: {what}. See docs/FORMAT.md, section 7.2."
    )


def read_onnx_file(model: bytes) -> OnnxFile:
    """Read a model.

    Raises:
        NetworkError: it is no ONNX file, or holds something that the profile has no use for.
    """
    ir_version, graphs, opsets = 0, [], []
    for field, value in _read_fields(model):
        if field == 1:
            ir_version = _to_number(value)
        elif field == 7:
            graphs.append(_to_bytes(value))
        elif field == 8:
            opsets.append(_opset(_to_bytes(value)))
        elif field not in (2, 3, 4, 5, 6):  # Names, versions and words of the program that wrote it.
            raise foreign(f"the model has field {field}, such as functions")
    if len(graphs) != 1:
        raise foreign(f"it has {len(graphs)} graphs")
    return _graph(graphs[0], ir_version=ir_version, opsets=tuple(opsets))


def _opset(message: bytes) -> tuple[str, int]:
    domain, version = "", 0
    for field, value in _read_fields(message):
        if field == 1:
            domain = _to_text(value)
        elif field == 2:
            version = _to_number(value)
    return ("" if domain == "ai.onnx" else domain), version


def _graph(message: bytes, *, ir_version: int, opsets: tuple[tuple[str, int], ...]) -> OnnxFile:
    nodes, weights, inputs, outputs = [], [], [], []
    for field, value in _read_fields(message):
        if field == 1:
            nodes.append(_node(_to_bytes(value)))
        elif field == 5:
            weights.append(_tensor(_to_bytes(value)))
        elif field == 11:
            inputs.append(_border(_to_bytes(value)))
        elif field == 12:
            outputs.append(_border(_to_bytes(value)))
        elif field not in (2, 10):  # Its name and a text.
            raise foreign(f"the graph has field {field}, such as sparse weights")
    return OnnxFile(
        ir_version=ir_version,
        opsets=opsets,
        nodes=tuple(nodes),
        weights=tuple(weights),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
    )


def _border(message: bytes) -> Border:
    name, data_type, dims = "", 0, list[int | None]()
    for field, value in _read_fields(message):
        if field == 1:
            name = _to_text(value)
        elif field == 2:
            for inner, number in _inner(value, 1):
                if inner == 1:
                    data_type = _to_number(number)
                elif inner == 2:
                    dims += [_size(size) for place, size in _read_fields(_to_bytes(number)) if place == 1]
    return Border(name=name, data_type=data_type, dims=tuple(dims))


def _inner(message: _Value, wanted: int) -> Iterator[tuple[int, _Value]]:
    """The fields of all inner messages that stand in one field."""
    for field, value in _read_fields(_to_bytes(message)):
        if field == wanted:
            yield from _read_fields(_to_bytes(value))


def _size(dimension: _Value) -> int | None:
    sizes = [_to_number(value) for field, value in _read_fields(_to_bytes(dimension)) if field == 1]
    return sizes[-1] if sizes else None


def _node(message: bytes) -> Node:
    inputs, outputs, operator = [], [], ""
    attributes: dict[str, Attribute] = {}
    for field, value in _read_fields(message):
        if field == 1:
            inputs.append(_to_text(value))
        elif field == 2:
            outputs.append(_to_text(value))
        elif field == 4:
            operator = _to_text(value)
        elif field == 5:
            name, attribute = _attribute(_to_bytes(value))
            if name in attributes:
                raise foreign(f"a node with two attributes {name}")
            attributes[name] = attribute
        elif field == 7:
            if _to_text(value) not in ("", "ai.onnx"):
                raise foreign(f"an operator of the domain {_to_text(value)}")
        elif field not in (3, 6):  # Its name and a text.
            raise foreign(f"a node has field {field}")
    if len(outputs) != 1:
        raise foreign(f"{operator} has {len(outputs)} outputs")
    return Node(operator=operator, inputs=tuple(inputs), output=outputs[0], attributes=attributes)


def _attribute(message: bytes) -> tuple[str, Attribute]:
    name, values, numbers = "", list[Attribute](), list[int]()
    for field, value in _read_fields(message):
        if field == 1:
            name = _to_text(value)
        elif field in (2, 3, 4):
            values.append(value)
        elif field == 5:
            values.append(_tensor(_to_bytes(value)))
        elif field == 8:
            numbers += _to_numbers(value)
        elif field not in (13, 20):  # A text and the attribute's type.
            raise foreign(f"an attribute has field {field}, such as a graph of its own")
    if numbers:
        values.append(tuple(numbers))
    if len(values) != 1:
        raise foreign(f"the attribute {name} has {len(values)} values")
    return name, values[0]


def _tensor(message: bytes) -> Tensor:
    name, data_type, dims, raw = "", 0, list[int](), b""
    for field, value in _read_fields(message):
        if field == 1:
            dims += _to_numbers(value)
        elif field == 2:
            data_type = _to_number(value)
        elif field == 8:
            name = _to_text(value)
        elif field == 9:
            raw = _to_bytes(value)
        elif field in (13, 14):
            raise foreign("weights in another file")
        elif field != 12:
            raise foreign(f"weights that are not written as raw data (field {field})")
    if data_type not in _VALUE_BYTES:
        raise foreign(f"weights of ONNX's type {data_type}; those allowed are float, float16 and int8")
    if len(raw) != prod(dims) * _VALUE_BYTES[data_type]:
        raise foreign(f"weights of the shape {dims} in {len(raw)} bytes")
    return Tensor(name=name, data_type=data_type, dims=tuple(dims), raw=raw)


def _read_fields(message: bytes) -> Iterator[tuple[int, _Value]]:
    """A message's fields in order: number, and a whole number (varint) or bytes (everything else).

    Raises:
        NetworkError: the bytes are no message.
    """
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, wire_type = key >> 3, key & 7
        if wire_type == _VARINT:
            value, position = _varint(message, position)
            yield number, value
            continue
        if wire_type == _BYTES:
            byte_count, position = _varint(message, position)
        elif wire_type in (_FIXED_64, _FIXED_32):
            byte_count = 8 if wire_type == _FIXED_64 else 4
        else:
            raise _damaged()
        if number == 0 or position + byte_count > len(message):
            raise _damaged()
        yield number, message[position : position + byte_count]
        position += byte_count


def _to_numbers(value: _Value) -> list[int]:
    """A repeated whole number: one varint, or several packed into bytes."""
    if isinstance(value, int):
        return [value]
    numbers, position = [], 0
    while position < len(value):
        number, position = _varint(value, position)
        numbers.append(number)
    return numbers


def _to_text(value: _Value) -> str:
    """A string. Raises NetworkError where it is none."""
    if isinstance(value, int):
        raise _damaged()
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _damaged() from error


def _to_bytes(value: _Value) -> bytes:
    """Bytes, such as those of an inner message. Raises NetworkError where it is a number."""
    if isinstance(value, int):
        raise _damaged()
    return value


def _to_number(value: _Value) -> int:
    """A whole number. Raises NetworkError where it is none."""
    if not isinstance(value, int):
        raise _damaged()
    return value


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """A varint and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise _damaged()
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _damaged()


def _damaged() -> NetworkError:
    return NetworkError("The network is no ONNX file. Fetch the bundle again, or make it anew.")
