"""Small bundles for tests, of real parts: an H.264 stream with or without sound, ONNX networks, index, manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Literal

import av
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from stdo.bundle.geometry import base_size, make_patch_grid
from stdo.bundle.manifest import (
    BaseStream,
    Colour,
    FileEntry,
    Manifest,
    Network,
    PatchGrid,
    PatchIndex,
    PatchIndexSegment,
    Picture,
    PictureQuality,
    PrecisionLoss,
    Provenance,
    Quality,
    Rational,
    Scale,
    Source,
)
from stdo.bundle.patch_index import encode_segment
from stdo.decoder.frames import YuvFrame

Channels = Literal["rgb", "luma"]
CHANNEL_COUNT = {"rgb": 3, "luma": 1}
BT709 = Colour(matrix="bt709", range="limited", primaries="bt709", transfer="bt709")
SAMPLE_RATE = 48_000
FIVE_FRAMES = [Fraction(number, 25) for number in range(5)]


def make_picture(
    *, width: int, height: int, scale: Scale, frame_count: int = 1, colour: Colour = BT709, variable: bool = False
) -> Picture:
    """A picture of that display size, at 25 frames per second."""
    return Picture(
        scale=scale,
        display_width=width,
        display_height=height,
        base_width=base_size(width, scale),
        base_height=base_size(height, scale),
        frame_count=frame_count,
        average_frame_rate=Rational(numerator=25, denominator=1),
        variable_frame_rate=variable,
        duration_seconds=frame_count / 25,
        colour=colour,
    )


def make_grid(picture: Picture, *, width: int, height: int, halo: int) -> PatchGrid:
    """The grid of such patches over the picture's low-resolution frames."""
    return make_patch_grid(
        base_width=picture.base_width,
        base_height=picture.base_height,
        patch_width=width,
        patch_height=height,
        halo=halo,
    )


def random_frame(width: int, height: int, *, seed: int = 0, time: Fraction = Fraction(0)) -> YuvFrame:
    """Noise in all three planes."""
    random = np.random.default_rng(seed)
    chroma = (-(-height // 2), -(-width // 2))
    return YuvFrame(
        y=random.integers(0, 256, (height, width), dtype=np.uint8),
        u=random.integers(0, 256, chroma, dtype=np.uint8),
        v=random.integers(0, 256, chroma, dtype=np.uint8),
        time=time,
    )


def moving_frames(picture: Picture, times: Sequence[Fraction]) -> list[YuvFrame]:
    """Low-resolution frames of a textured pattern that wanders."""
    rows, columns = np.mgrid[: picture.base_height, : picture.base_width]
    frames = []
    for number, time in enumerate(times):
        y = 128 + 40 * np.sin((columns + 3 * number) / 3.1) + 25 * np.cos((rows * 2 - columns + number) / 2.3)
        u = 128 + 40 * np.sin((columns[::2, ::2] - rows[::2, ::2] + 5 * number) / 6.0)
        v = 128 + 40 * np.cos((columns[::2, ::2] + 2 * rows[::2, ::2]) / 7.0 + number)
        y, u, v = (np.clip(plane, 0, 255).astype(np.uint8) for plane in (y, u, v))
        frames.append(YuvFrame(y=y, u=u, v=v, time=time))
    return frames


def convolution_network(weights: npt.NDArray[np.float32], bias: npt.NDArray[np.float32], *, scale: int) -> bytes:
    """An ONNX network of one convolution and a pixel shuffle.

    Args:
        weights: (scale * scale * C, C, k, k), k odd. bias: (scale * scale * C,).
    """
    channels, padding = weights.shape[1], weights.shape[2] // 2
    nodes = [
        helper.make_node("Conv", ["lr", "weights", "bias"], ["features"], pads=[padding] * 4),
        helper.make_node("DepthToSpace", ["features"], ["hr"], blocksize=scale, mode="CRD"),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("lr", TensorProto.FLOAT, ["batch", channels, "height", "width"])],
        [helper.make_tensor_value_info("hr", TensorProto.FLOAT, ["batch", channels, "hr_height", "hr_width"])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def nearest_network(scale: int, channels: Channels = "rgb") -> bytes:
    """A network that repeats each pixel `scale` times in both directions."""
    count = CHANNEL_COUNT[channels]
    weights = np.repeat(np.eye(count, dtype=np.float32), scale * scale, axis=0)[..., np.newaxis, np.newaxis]
    return convolution_network(weights, np.zeros(len(weights), np.float32), scale=scale)


def sharpening_network(scale: int, channels: Channels = "rgb", *, seed: int = 0, size: int = 5) -> bytes:
    """A network with a kernel of that size, whose output is the same on every machine.

    The weights are multiples of 1/32, so that the output in 8-bit levels is one of 1/32; the bias of 1/64 level keeps
    it off the ties of the rounding, where the last bit of a float would decide.
    """
    count = CHANNEL_COUNT[channels]
    random = np.random.default_rng(seed)
    weights = random.integers(-2, 3, (scale * scale * count, count, size, size)).astype(np.float32)
    for output in range(len(weights)):
        source = output // (scale * scale)
        weights[output, source, size // 2, size // 2] += 32 - weights[output].sum()
    return convolution_network(
        (weights / 32).astype(np.float32), np.full(len(weights), 1 / (64 * 255), np.float32), scale=scale
    )


def write_base_stream(
    path: Path,
    frames: Sequence[YuvFrame],
    *,
    time_base: Fraction = Fraction(1, 12_800),
    options: dict[str, str] | None = None,
    sound_seconds: float = 0,
) -> None:
    """A fragmented MP4 with lossless H.264, each frame at its time, and AAC sound if asked for."""
    container_options = {"movflags": "frag_keyframe+delay_moov", "movie_timescale": str(time_base.denominator)}
    with av.open(str(path), "w", format="mp4", options=container_options) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = frames[0].y.shape[1], frames[0].y.shape[0], "yuv420p"
        stream.time_base = stream.codec_context.time_base = time_base
        stream.codec_context.options = {"qp": "0", "bf": "0", "threads": "1", **(options or {})}
        sound = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono") if sound_seconds else None
        for frame in frames:
            planes = np.concatenate([plane.reshape(-1) for plane in (frame.y, frame.u, frame.v)])
            picture = av.VideoFrame.from_ndarray(planes.reshape(-1, frame.y.shape[1]), format="yuv420p")
            picture.pts, picture.time_base = round(frame.time / time_base), time_base
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
        if sound is not None:
            tone = np.sin(np.arange(round(sound_seconds * SAMPLE_RATE)) * (2 * np.pi * 440 / SAMPLE_RATE))
            group = av.AudioFrame.from_ndarray(tone[np.newaxis].astype(np.float32), format="fltp", layout="mono")
            group.sample_rate, group.pts = SAMPLE_RATE, 0
            container.mux(sound.encode(group))
            container.mux(sound.encode(None))


def write_bundle(
    folder: Path,
    *,
    picture: Picture,
    grid: PatchGrid,
    networks: Sequence[bytes],
    numbers: npt.NDArray[np.uint8],
    channels: Channels = "rgb",
    segment_frames: int = 2,
    lossless: bool = True,
) -> Path:
    """Write networks, patch index and manifest beside the base.mp4 that is in the folder already.

    Args:
        numbers: (frames, patches), the network of each patch.
    """
    network_entries = [
        Network(
            **_write(folder, f"networks/{number}.onnx", data),
            architecture="test",
            channels=channels,
            precision="fp32",
            parameter_count=1,
            multiply_accumulates_per_base_pixel=1.0,
        )
        for number, data in enumerate(networks)
    ]
    segments: list[PatchIndexSegment] = []
    for first in range(0, len(numbers), segment_frames):
        rows = numbers[first : first + segment_frames]
        written = _write(folder, f"patch_index/{len(segments):05d}.bin", encode_segment(rows))
        segments.append(PatchIndexSegment(**written, first_frame=first, frame_count=len(rows)))
    base_stream = (folder / "base.mp4").read_bytes()
    with av.open(str(folder / "base.mp4")) as container:
        audio_codec = "aac" if container.streams.audio else None
    manifest = Manifest(
        bundle_id="test-bundle",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        source=_source(picture, audio_codec),
        picture=picture,
        patch_grid=grid,
        base_stream=BaseStream(
            **_write(folder, "base.mp4", base_stream), codec="h264", lossless=lossless, audio_codec=audio_codec
        ),
        networks=tuple(network_entries),
        patch_index=PatchIndex(segments=tuple(segments)),
        quality=_quality(FileEntry(**_write(folder, "quality/report.json", b"{}"))),
        provenance=Provenance(method="stdo", settings={}, software={}, device="none"),
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
    return folder


def write_small_bundle(
    folder: Path,
    *,
    width: int = 45,
    height: int = 29,
    scale: Scale = 2,
    channels: Channels = "rgb",
    patch: tuple[int, int] = (8, 6),
    halo: int = 2,
    times: Sequence[Fraction] = FIVE_FRAMES,
    colour: Colour = BT709,
    networks: Sequence[bytes] | None = None,
    sound_seconds: float = 0,
    base_stream_options: dict[str, str] | None = None,
) -> Path:
    """A whole bundle in an empty folder, by default with an odd size and patches that don't divide it."""
    folder.mkdir(parents=True, exist_ok=True)
    steps = {later - earlier for earlier, later in pairwise(times)}
    picture = make_picture(
        width=width, height=height, scale=scale, frame_count=len(times), colour=colour, variable=len(steps) > 1
    )
    grid = make_grid(picture, width=patch[0], height=patch[1], halo=halo)
    frames = moving_frames(picture, times)
    write_base_stream(folder / "base.mp4", frames, options=base_stream_options, sound_seconds=sound_seconds)
    chosen = networks or [sharpening_network(scale, channels, seed=1), sharpening_network(scale, channels, seed=2)]
    random = np.random.default_rng(7)
    numbers = random.integers(0, len(chosen), (len(times), grid.rows * grid.columns), dtype=np.uint8)
    return write_bundle(
        folder,
        picture=picture,
        grid=grid,
        networks=chosen,
        numbers=numbers,
        channels=channels,
        lossless=not base_stream_options,
    )


def _write(folder: Path, path: str, data: bytes) -> dict[str, object]:
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return {"path": path, "byte_count": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _source(picture: Picture, audio_codec: str | None) -> Source:
    return Source(
        sha256="0" * 64,
        byte_count=1,
        container="mp4",
        video_codec="h264",
        pixel_format="yuv420p",
        coded_width=picture.display_width,
        coded_height=picture.display_height,
        rotation_degrees=0,
        frame_count=picture.frame_count,
        duration_seconds=picture.duration_seconds,
        average_frame_rate=picture.average_frame_rate,
        variable_frame_rate=picture.variable_frame_rate,
        audio_codec=audio_codec,
    )


def _quality(report: FileEntry) -> Quality:
    """Figures that nothing measured: no test reads them."""
    figures = PictureQuality(
        psnr_y=None,
        psnr_rgb=None,
        psnr_y_frame_mean=None,
        psnr_rgb_frame_mean=None,
        ssim_y=1.0,
        paper_psnr_rgb=None,
    )
    loss = PrecisionLoss(psnr_y_db=0.0, psnr_rgb_db=0.0, frames_measured=1)
    return Quality(restored=figures, bicubic=figures, lanczos=figures, f0=figures, precision_loss=loss, files=(report,))
