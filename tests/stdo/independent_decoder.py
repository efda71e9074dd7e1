"""A second decoder, written from docs/FORMAT.md alone: it shares no code with `stdo`, and goes pixel by pixel.

Where it and `stdo.reconstruct` differ, one of the two, or the text, is wrong. It is slow, and meant for tiny bundles.
"""

from __future__ import annotations

import hashlib
import json
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

# Section 6.1: y_to_rgb, cr_to_r, cb_to_g, cr_to_g, cb_to_b.
TO_RGB = {
    ("bt601", "limited"): (1220945, 209194, -51349, -106557, 264403),
    ("bt601", "full"): (1048576, 183763, -45107, -93603, 232260),
    ("bt709", "limited"): (1220945, 234978, -27951, -69849, 276877),
    ("bt709", "full"): (1048576, 206412, -24553, -61358, 243217),
    ("bt2020", "limited"): (1220945, 220027, -24553, -85252, 280726),
    ("bt2020", "full"): (1048576, 193279, -21568, -74888, 246599),
}


@dataclass(frozen=True, kw_only=True)
class DecodedFrame:
    """One restored frame."""

    time: Fraction
    rgb: Array
    """(h, w, 3) uint8"""
    planes: tuple[Array, Array, Array] | None
    """Y, U, V of `luma` networks."""


def decode_bundle(folder: Path) -> list[DecodedFrame]:
    """Section 9, for every frame."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    if manifest["format"] != "stdo-bundle" or manifest["format_version"].split(".")[0] != "1":
        raise ValueError("not a bundle of major version 1")
    networks = [_open_network(folder, entry) for entry in manifest["networks"]]
    numbers = _read_patch_index(folder, manifest)
    _read_file(folder, manifest["base_stream"])
    frames = []
    with av.open(str(folder / manifest["base_stream"]["path"])) as container:
        for number, picture in enumerate(container.decode(video=0)):
            assert picture.pts is not None
            assert picture.time_base is not None
            planes = [_plane(plane) for plane in picture.planes]
            time = picture.pts * picture.time_base
            frames.append(_restore(manifest, networks, numbers[number], planes, time))
    if len(frames) != manifest["picture"]["frame_count"]:
        raise ValueError("wrong number of frames")
    return frames


def _restore(
    manifest: Any, networks: list[Any], numbers: list[int], planes: list[Array], time: Fraction
) -> DecodedFrame:
    picture, grid = manifest["picture"], manifest["patch_grid"]
    scale, halo = picture["scale"], grid["halo"]
    channels = manifest["networks"][0]["channels"]
    colour = picture["colour"]
    luma, u, v = planes
    image = to_rgb(luma, u, v, colour["matrix"], colour["range"]) if channels == "rgb" else luma[:, :, None]
    base_height, base_width, channel_count = image.shape
    assert base_width == 2 * ceil(picture["display_width"] / (2 * scale))
    assert base_height == 2 * ceil(picture["display_height"] / (2 * scale))
    out_height, out_width = scale * grid["patch_height"], scale * grid["patch_width"]
    canvas = np.zeros((grid["rows"] * out_height, grid["columns"] * out_width, channel_count), np.uint8)
    for row in range(grid["rows"]):
        for column in range(grid["columns"]):
            window = np.zeros(
                (grid["patch_height"] + 2 * halo, grid["patch_width"] + 2 * halo, channel_count), np.uint8
            )
            for i in range(window.shape[0]):
                for j in range(window.shape[1]):
                    y = min(max(row * grid["patch_height"] - halo + i, 0), base_height - 1)
                    x = min(max(column * grid["patch_width"] - halo + j, 0), base_width - 1)
                    window[i, j] = image[y, x]
            network = networks[numbers[row * grid["columns"] + column]]
            samples = (window.transpose(2, 0, 1)[None] / 255).astype(np.float32)
            (value,) = network.run(["hr"], {"lr": samples})
            output = np.clip(np.floor(255 * value[0].astype(np.float64) + 0.5), 0, 255).transpose(1, 2, 0)
            kept = output[scale * halo : scale * halo + out_height, scale * halo : scale * halo + out_width]
            canvas[row * out_height : (row + 1) * out_height, column * out_width : (column + 1) * out_width] = kept
    height, width = picture["display_height"], picture["display_width"]
    restored = canvas[:height, :width]
    if channels == "rgb":
        return DecodedFrame(time=time, rgb=restored, planes=None)
    u, v = (_enlarge(plane, scale)[: ceil(height / 2), : ceil(width / 2)] for plane in planes[1:])
    luma = restored[:, :, 0]
    return DecodedFrame(time=time, rgb=to_rgb(luma, u, v, colour["matrix"], colour["range"]), planes=(luma, u, v))


def to_rgb(luma: Array, u: Array, v: Array, matrix: str, value_range: str) -> Array:
    """Section 6.1."""
    y_to_rgb, cr_to_r, cb_to_g, cr_to_g, cb_to_b = TO_RGB[matrix, value_range]
    offset = 16 if value_range == "limited" else 0
    rgb = np.zeros((*luma.shape, 3), np.uint8)
    for y in range(luma.shape[0]):
        for x in range(luma.shape[1]):
            u8, v8 = _chroma_eighths(u, x, y), _chroma_eighths(v, x, y)
            level = (int(luma[y, x]) - offset) * y_to_rgb + 524288
            red = (level + cr_to_r * v8) >> 20
            green = (level + cb_to_g * u8 + cr_to_g * v8) >> 20
            blue = (level + cb_to_b * u8) >> 20
            rgb[y, x] = [min(max(sample, 0), 255) for sample in (red, green, blue)]
    return rgb


def _chroma_eighths(plane: Array, x: int, y: int) -> int:
    height, width = plane.shape
    j, i = y // 2, x // 2
    other = min(max(j - 1 if y % 2 == 0 else j + 1, 0), height - 1)
    following = min(i + 1, width - 1)

    def quarters(column: int) -> int:
        return 3 * int(plane[j, column]) + int(plane[other, column]) - 4 * 128

    return 2 * quarters(i) if x % 2 == 0 else quarters(i) + quarters(following)


def _enlarge(plane: Array, scale: int) -> Array:
    """Section 6.3, bicubic: all rows, then all columns."""
    rows = np.array([_enlarge_line(line, scale) for line in plane])
    return np.array([_enlarge_line(line, scale) for line in rows.T]).T


def _enlarge_line(line: Array, scale: int) -> list[int]:
    enlarged = []
    for k in range(scale * len(line)):
        centre = (k + 0.5) / scale
        weights = [_keys(i + 0.5 - centre) for i in range(len(line))]
        integers = [round(weight / sum(weights) * 2**22) for weight in weights]
        total = 2097152 + sum(weight * int(sample) for weight, sample in zip(integers, line, strict=True))
        enlarged.append(min(max(total >> 22, 0), 255))
    return enlarged


def _keys(distance: float) -> float:
    t = abs(distance)
    if t < 1:
        return 1.5 * t**3 - 2.5 * t**2 + 1
    return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0


def _read_patch_index(folder: Path, manifest: Any) -> list[list[int]]:
    """Section 8: one list of numbers for each frame of the video."""
    count = manifest["patch_grid"]["rows"] * manifest["patch_grid"]["columns"]
    frames: list[list[int]] = []
    for segment in manifest["patch_index"]["segments"]:
        assert segment["first_frame"] == len(frames)
        data = zlib.decompress(_read_file(folder, segment))
        assert len(data) == count * segment["frame_count"]
        numbers = [0] * count
        for first in range(0, len(data), count):
            numbers = [(old + step) % 256 for old, step in zip(numbers, data[first : first + count], strict=True)]
            frames.append(numbers)
    return frames


def _open_network(folder: Path, entry: Any) -> Any:
    if entry.get("coding", "onnx") != "onnx" or entry.get("input_frames", [0]) != [0]:
        raise ValueError("unknown coding or input frames")
    return onnxruntime.InferenceSession(_read_file(folder, entry), providers=["CPUExecutionProvider"])


def _read_file(folder: Path, entry: Any) -> bytes:
    data: bytes = (folder / entry["path"]).read_bytes()
    if len(data) != entry["byte_count"] or hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise ValueError(f"{entry['path']} is damaged")
    return data


def _plane(plane: Any) -> Array:
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width].copy()
