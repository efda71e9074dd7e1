"""Just enough of Protocol Buffers to look into an ONNX file before anything else opens it."""

from __future__ import annotations

from collections.abc import Iterator

from stdo.errors import NetworkError

Value = int | bytes
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5


def read_fields(message: bytes) -> Iterator[tuple[int, Value]]:
    """The fields of a message in order: number, and a whole number (varint) or bytes (everything else).

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


def to_numbers(value: Value) -> list[int]:
    """A repeated whole number: one varint, or several packed into bytes."""
    if isinstance(value, int):
        return [value]
    numbers, position = [], 0
    while position < len(value):
        number, position = _varint(value, position)
        numbers.append(number)
    return numbers


def to_text(value: Value) -> str:
    """A string. Raises NetworkError where it is none."""
    if isinstance(value, int):
        raise _damaged()
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _damaged() from error


def to_bytes(value: Value) -> bytes:
    """Bytes, such as those of an inner message. Raises NetworkError where it is a number."""
    if isinstance(value, int):
        raise _damaged()
    return value


def to_number(value: Value) -> int:
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
