"""A second decoder, written from docs/FORMAT.md alone: it shares no code with `stdo`, and goes pixel by pixel.

Where it and `stdo.reconstruct` differ, one of the two, or the text, is wrong. It is slow, and meant for tiny bundles.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zlib
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import onnxruntime

Array = npt.NDArray[Any]
Planes = tuple[Array, Array, Array]
AS_DECODED = 255
GENERAL_NETWORKS = Path(__file__).parents[2] / "stdo" / "networks" / "general"
"""Where section 7.3 says that the general networks lie."""

# Section 6.1: y_to_rgb, cr_to_r, cb_to_g, cr_to_g, cb_to_b.
TO_RGB = {
    ("bt601", "limited", 8): (1220945, 209194, -51349, -106557, 264403),
    ("bt709", "limited", 8): (1220945, 234978, -27951, -69849, 276877),
    ("bt2020", "limited", 8): (1220945, 220027, -24553, -85252, 280726),
    ("bt601", "limited", 10): (1224536, 209810, -51500, -106871, 265180),
    ("bt709", "limited", 10): (1224536, 235669, -28033, -70055, 277691),
    ("bt2020", "limited", 10): (1224536, 220674, -24625, -85503, 281552),
    ("bt601", "full", 8): (1048576, 183763, -45107, -93603, 232260),
    ("bt709", "full", 8): (1048576, 206412, -24553, -61358, 243217),
    ("bt2020", "full", 8): (1048576, 193279, -21568, -74888, 246599),
}
# Section 6.2: y_r, y_g, y_b, u_r, u_g, u_b, v_r, v_g, v_b.
FROM_RGB = {
    ("bt601", "limited", 8): (269262, 528618, 102662, -19428, -38141, 57569, 57569, -48207, -9362),
    ("bt709", "limited", 8): (191455, 644068, 65019, -13192, -44377, 57569, 57569, -52290, -5279),
    ("bt2020", "limited", 8): (236572, 610568, 53402, -16077, -41492, 57569, 57569, -52939, -4630),
    ("bt601", "limited", 10): (268472, 527068, 102361, -19371, -38029, 57400, 57400, -48065, -9335),
    ("bt709", "limited", 10): (190894, 642179, 64828, -13153, -44247, 57400, 57400, -52137, -5263),
    ("bt2020", "limited", 10): (235879, 608776, 53246, -16030, -41370, 57400, 57400, -52783, -4617),
    ("bt601", "full", 8): (313524, 615514, 119538, -22117, -43419, 65536, 65536, -54878, -10658),
    ("bt709", "full", 8): (222927, 749942, 75707, -15017, -50519, 65536, 65536, -59527, -6009),
    ("bt2020", "full", 8): (275461, 710934, 62181, -18302, -47234, 65536, 65536, -60265, -5271),
}


@dataclass(frozen=True, kw_only=True)
class DecodedFrame:
    """One restored frame; samples are int64."""

    time: Fraction
    rgb: Array
    """(h, w, 3)"""
    planes: Planes
    """Y, U, V"""


def decode_bundle(folder: Path) -> list[DecodedFrame]:
    """Section 9, for every frame."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    if manifest["format"] != "stdo-bundle" or manifest["format_version"].split(".")[0] != "1":
        raise ValueError("not a bundle of major version 1")
    networks = [_open_network(folder, entry) for entry in manifest["networks"]]
    frames = []
    for first_frame, frame_count, ticks, stream, index in _segments(folder, manifest):
        numbers = _patch_numbers(manifest, index, frame_count)
        decoded = _decode(stream, manifest["base_stream"])
        assert len(decoded) == frame_count
        assert decoded[0][0] == ticks * _fraction(manifest["base_stream"]["time_base"])
        assert first_frame == len(frames)
        for (time, planes), row in zip(decoded, numbers, strict=True):
            frames.append(_Restoring(manifest, networks).restore(time, planes, row))
    return frames


def _segments(folder: Path, manifest: Any) -> list[tuple[int, int, int, bytes, bytes]]:
    """Section 5: first frame, frames, time, and the verified bytes (with the header) of either part of each segment."""
    table = _read_file(folder, manifest["segments"])
    base = (folder / manifest["base_stream"]["path"]).read_bytes()
    index = (folder / manifest["patch_index"]["path"]).read_bytes() if manifest["patch_index"] else b""
    header = _verified(base, 0, manifest["base_stream"]["header"]["byte_count"], manifest["base_stream"]["header"])
    records = list(struct.iter_unpack("<IqQI32sQI32s", table))
    assert len(records) == manifest["segments"]["segment_count"]
    ends = [record[0] for record in records[1:]] + [manifest["picture"]["frame_count"]]
    segments = []
    for (first, ticks, offset, count, sha256, index_offset, index_count, index_sha256), end in zip(
        records, ends, strict=True
    ):
        stream = _verified(base, offset, count, {"sha256": sha256.hex()})
        part = _verified(index, index_offset, index_count, {"sha256": index_sha256.hex()}) if index else b""
        segments.append((first, end - first, ticks, header + stream, part))
    return segments


def _patch_numbers(manifest: Any, data: bytes, frame_count: int) -> list[list[int]]:
    """Section 8: one list of numbers for each frame of a segment."""
    grid = manifest["patch_grid"]
    if grid is None:
        return [[] for _ in range(frame_count)]
    count = grid["rows"] * grid["columns"]
    steps = zlib.decompress(data)
    assert len(steps) == count * frame_count
    frames, numbers = [], [0] * count
    for first in range(0, len(steps), count):
        numbers = [(old + step) % 256 for old, step in zip(numbers, steps[first : first + count], strict=True)]
        frames.append(numbers)
    return frames


def _decode(mp4: bytes, base_stream: Any) -> list[tuple[Fraction, Planes]]:
    frames = []
    kind = np.uint8 if base_stream["bit_depth"] == 8 else np.dtype("<u2")
    with av.open(io.BytesIO(mp4), format="mp4") as container:
        for picture in container.decode(video=0):
            assert picture.pts is not None
            assert picture.time_base is not None
            y, u, v = (
                np.frombuffer(plane, kind)
                .reshape(plane.height, plane.line_size // np.dtype(kind).itemsize)[:, : plane.width]
                .astype(np.int64)
                for plane in picture.planes
            )
            frames.append((picture.pts * picture.time_base, (y, u, v)))
    return frames


class _Restoring:
    """Section 9."""

    def __init__(self, manifest: Any, networks: list[Any]) -> None:
        self.picture, self.grid = manifest["picture"], manifest["patch_grid"]
        self.scale = self.picture["scale"]
        self.base_depth, self.depth = manifest["base_stream"]["bit_depth"], self.picture["bit_depth"]
        self.colour = (self.picture["colour"]["matrix"], self.picture["colour"]["range"])
        self.channels = manifest["networks"][0]["channels"] if networks else None
        self.networks = networks
        self.width, self.height = self.picture["display_width"], self.picture["display_height"]
        self.chroma_width, self.chroma_height = ceil(self.width / 2), ceil(self.height / 2)

    def restore(self, time: Fraction, planes: Planes, numbers: list[int]) -> DecodedFrame:
        assert planes[0].shape == (self.picture["base_height"], self.picture["base_width"])
        decoded = self._as_decoded(planes)
        if all(number == AS_DECODED for number in numbers):
            return self._from_planes(time, decoded)
        if self.channels == "rgb":
            y, u, v = planes
            rgb = self._restored(to_rgb(y, u, v, *self.colour, self.base_depth), numbers)
            shown = to_rgb(*decoded, *self.colour, self.depth)
            self._paste(rgb, shown, numbers, self.scale, self.grid["patch_width"], self.grid["patch_height"])
            return DecodedFrame(time=time, rgb=rgb, planes=from_rgb(rgb, *self.colour, self.depth))
        if self.channels == "luma":
            luma = self._restored(planes[0][:, :, None], numbers)[:, :, 0]
            self._paste(luma, decoded[0], numbers, self.scale, self.grid["patch_width"], self.grid["patch_height"])
            return self._from_planes(time, (luma, decoded[1], decoded[2]))
        return self._from_planes(time, self._restored_yuv(planes, decoded, numbers))

    def _from_planes(self, time: Fraction, planes: Planes) -> DecodedFrame:
        return DecodedFrame(time=time, rgb=to_rgb(*planes, *self.colour, self.depth), planes=planes)

    def _as_decoded(self, planes: Planes) -> Planes:
        y, u, v = (self._to_depth(_enlarge(plane, self.scale, self.base_depth)) for plane in planes)
        return (
            y[: self.height, : self.width],
            u[: self.chroma_height, : self.chroma_width],
            v[: self.chroma_height, : self.chroma_width],
        )

    def _to_depth(self, plane: Array) -> Array:
        if self.base_depth == self.depth:
            return plane
        return plane << 2 if self.depth == 10 else np.minimum((plane + 2) >> 2, 255)

    def _restored(self, image: Array, numbers: list[int]) -> Array:
        """The canvas of patches, cut to display size; 0 where a patch is as decoded."""
        width, height, halo = self.grid["patch_width"], self.grid["patch_height"], self.grid["halo"]
        canvas = self._canvas(width, height, image.shape[2])
        for number, row, column in self._patches(numbers):
            window = _window(image, row, column, width, height, halo)
            output = self._run(number, window)
            self._put(canvas, output, row, column, width, height, halo)
        return canvas[: self.height, : self.width]

    def _restored_yuv(self, planes: Planes, decoded: Planes, numbers: list[int]) -> Planes:
        width, height, halo = self.grid["patch_width"], self.grid["patch_height"], self.grid["halo"]
        luma, chroma = self._canvas(width, height, 1), self._canvas(width // 2, height // 2, 2)
        for number, row, column in self._patches(numbers):
            y = _window(planes[0][:, :, None], row, column, width, height, halo)[:, :, 0]
            colours = [
                _window(plane[:, :, None], row, column, width // 2, height // 2, halo // 2) for plane in planes[1:]
            ]
            phases = [y[0::2, 0::2], y[0::2, 1::2], y[1::2, 0::2], y[1::2, 1::2]]
            output = self._run(number, np.concatenate([np.stack(phases, axis=-1), *colours], axis=-1))
            restored = np.zeros((2 * output.shape[0], 2 * output.shape[1], 1), np.int64)
            for phase in range(4):
                restored[phase // 2 :: 2, phase % 2 :: 2, 0] = output[:, :, phase]
            self._put(luma, restored, row, column, width, height, halo)
            self._put(chroma, output[:, :, 4:], row, column, width // 2, height // 2, halo // 2)
        y = luma[: self.height, : self.width, 0]
        u, v = (chroma[: self.chroma_height, : self.chroma_width, place] for place in (0, 1))
        self._paste(y, decoded[0], numbers, self.scale, width, height)
        self._paste(u, decoded[1], numbers, self.scale, width // 2, height // 2)
        self._paste(v, decoded[2], numbers, self.scale, width // 2, height // 2)
        return y, u, v

    def _patches(self, numbers: list[int]) -> list[tuple[int, int, int]]:
        return [
            (number, *divmod(place, self.grid["columns"]))
            for place, number in enumerate(numbers)
            if number != AS_DECODED
        ]

    def _canvas(self, width: int, height: int, channels: int) -> Array:
        rows, columns = self.grid["rows"] * self.scale * height, self.grid["columns"] * self.scale * width
        return np.zeros((rows, columns, channels), np.int64)

    def _run(self, number: int, window: Array) -> Array:
        samples = (window.transpose(2, 0, 1)[None] / _peak(self.base_depth)).astype(np.float32)
        (value,) = self.networks[number].run(["hr"], {"lr": samples})
        levels = np.floor(_peak(self.depth) * value[0].astype(np.float64) + 0.5)
        clipped: Array = np.clip(levels, 0, _peak(self.depth)).transpose(1, 2, 0).astype(np.int64)
        return clipped

    def _put(self, canvas: Array, output: Array, row: int, column: int, width: int, height: int, halo: int) -> None:
        scale = self.scale
        kept = output[scale * halo : scale * (halo + height), scale * halo : scale * (halo + width)]
        top, left = scale * row * height, scale * column * width
        canvas[top : top + scale * height, left : left + scale * width] = kept

    def _paste(self, restored: Array, shown: Array, numbers: list[int], scale: int, width: int, height: int) -> None:
        for place, number in enumerate(numbers):
            row, column = divmod(place, self.grid["columns"])
            if number == AS_DECODED:
                rows = slice(scale * row * height, scale * (row + 1) * height)
                columns = slice(scale * column * width, scale * (column + 1) * width)
                restored[rows, columns] = shown[rows, columns]


def _window(image: Array, row: int, column: int, width: int, height: int, halo: int) -> Array:
    """Section 4."""
    window = np.zeros((height + 2 * halo, width + 2 * halo, image.shape[2]), np.int64)
    for i in range(window.shape[0]):
        for j in range(window.shape[1]):
            y = min(max(row * height - halo + i, 0), image.shape[0] - 1)
            x = min(max(column * width - halo + j, 0), image.shape[1] - 1)
            window[i, j] = image[y, x]
    return window


def to_rgb(luma: Array, u: Array, v: Array, matrix: str, value_range: str, depth: int) -> Array:
    """Section 6.1."""
    factors = TO_RGB[matrix, value_range, depth if value_range == "limited" else 8]
    y_to_rgb, cr_to_r, cb_to_g, cr_to_g, cb_to_b = factors
    offset = 16 << (depth - 8) if value_range == "limited" else 0
    rgb = np.zeros((*luma.shape, 3), np.int64)
    for y in range(luma.shape[0]):
        for x in range(luma.shape[1]):
            u8, v8 = _chroma_eighths(u, x, y, depth), _chroma_eighths(v, x, y, depth)
            level = (int(luma[y, x]) - offset) * y_to_rgb + 524288
            red = (level + cr_to_r * v8) >> 20
            green = (level + cb_to_g * u8 + cr_to_g * v8) >> 20
            blue = (level + cb_to_b * u8) >> 20
            rgb[y, x] = [_clip(sample, depth) for sample in (red, green, blue)]
    return rgb


def _chroma_eighths(plane: Array, x: int, y: int, depth: int) -> int:
    height, width = plane.shape
    j, i = y // 2, x // 2
    other = min(max(j - 1 if y % 2 == 0 else j + 1, 0), height - 1)
    following = min(i + 1, width - 1)

    def quarters(column: int) -> int:
        return 3 * int(plane[j, column]) + int(plane[other, column]) - 4 * (128 << (depth - 8))

    return 2 * quarters(i) if x % 2 == 0 else quarters(i) + quarters(following)


def from_rgb(rgb: Array, matrix: str, value_range: str, depth: int) -> Planes:
    """Section 6.2."""
    factors = FROM_RGB[matrix, value_range, depth if value_range == "limited" else 8]
    offset = 16 << (depth - 8) if value_range == "limited" else 0
    height, width, _ = rgb.shape
    luma = np.zeros((height, width), np.int64)
    for y in range(height):
        for x in range(width):
            luma[y, x] = _row(factors[:3], [int(sample) for sample in rgb[y, x]], offset, depth)
    chroma = np.zeros((ceil(height / 2), ceil(width / 2), 2), np.int64)
    for j in range(chroma.shape[0]):
        for i in range(chroma.shape[1]):
            total = [0, 0, 0]
            for row in (2 * j, 2 * j + 1):
                for column, weight in ((2 * i - 1, 1), (2 * i, 2), (2 * i + 1, 1)):
                    pixel = rgb[min(row, height - 1), min(max(column, 0), width - 1)]
                    total = [old + weight * int(sample) for old, sample in zip(total, pixel, strict=True)]
            grey = 128 << (depth - 8)
            chroma[j, i] = [_row(factors[3:6], total, grey, depth), _row(factors[6:9], total, grey, depth)]
    return luma, chroma[:, :, 0], chroma[:, :, 1]


def _row(factors: tuple[int, ...], samples: list[int], offset: int, depth: int) -> int:
    total = (offset << 20) + 524288 + sum(f * sample for f, sample in zip(factors, samples, strict=True))
    return _clip(total >> 20, depth)


def _enlarge(plane: Array, scale: int, depth: int) -> Array:
    """Section 6.3, bicubic: all rows, then all columns."""
    rows = np.array([_enlarge_line(line, scale, depth) for line in plane])
    return np.array([_enlarge_line(line, scale, depth) for line in rows.T]).T


def _enlarge_line(line: Array, scale: int, depth: int) -> list[int]:
    bits = 22 if depth == 8 else 20
    enlarged = []
    for k in range(scale * len(line)):
        centre = (k + 0.5) / scale
        weights = [_keys(i + 0.5 - centre) for i in range(len(line))]
        integers = [round(weight / sum(weights) * 2**bits) for weight in weights]
        total = 2 ** (bits - 1) + sum(weight * int(sample) for weight, sample in zip(integers, line, strict=True))
        enlarged.append(_clip(total >> bits, depth))
    return enlarged


def _keys(distance: float) -> float:
    t = abs(distance)
    if t < 1:
        return 1.5 * t**3 - 2.5 * t**2 + 1
    return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0


def _open_network(folder: Path, entry: Any) -> Any:
    if entry["coding"] not in ("onnx", "general") or entry.get("input_frames", [0]) != [0]:
        raise ValueError("unknown coding or input frames")
    data = _general(entry["general_sha256"]) if entry["coding"] == "general" else _read_file(folder, entry["file"])
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


def _general(sha256: str) -> bytes:
    """Section 7.3: the general network of that hash, which every client has."""
    for path in GENERAL_NETWORKS.glob("*.onnx"):
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() == sha256:
            return data
    raise ValueError(f"there is no general network {sha256}")


def _read_file(folder: Path, entry: Any) -> bytes:
    data = (folder / entry["path"]).read_bytes()
    if len(data) != entry["byte_count"]:
        raise ValueError(f"{entry['path']} is damaged")
    return _verified(data, 0, len(data), entry)


def _verified(data: bytes, offset: int, count: int, entry: Any) -> bytes:
    part = data[offset : offset + count]
    if len(part) != count or hashlib.sha256(part).hexdigest() != entry["sha256"]:
        raise ValueError("a file is damaged")
    return part


def _fraction(rational: Any) -> Fraction:
    return Fraction(rational["numerator"], rational["denominator"])


def _peak(depth: int) -> int:
    return (1 << depth) - 1


def _clip(value: int, depth: int) -> int:
    return min(max(value, 0), _peak(depth))
