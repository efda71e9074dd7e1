"""Small bundles for tests, of real parts: an H.264 stream with or without sound, tables, ONNX networks, manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import onnx
from av.video.frame import PictureType
from onnx import TensorProto, helper, numpy_helper

from stdo.bundle.boxes import read_stream_ranges
from stdo.bundle.codecs import BitDepth
from stdo.bundle.geometry import base_size, make_patch_grid
from stdo.bundle.manifest import (
    FORMAT_NAME,
    FORMAT_VERSION,
    BaseStream,
    Channels,
    Colour,
    FileEntry,
    Manifest,
    Network,
    PatchGrid,
    PatchIndex,
    Picture,
    PictureQuality,
    PrecisionLoss,
    Provenance,
    Quality,
    Rational,
    Scale,
    SegmentTable,
    Source,
    StreamHeader,
    manifest_bytes,
)
from stdo.bundle.mime import audio_codecs_string, codecs_string, mime_type
from stdo.bundle.patch_index import encode_segment
from stdo.bundle.playlist import media_playlist
from stdo.bundle.segments import ByteRange, Segment, encode_segment_table, frames_of_segment
from stdo.decoder.frames import YuvFrame

CHANNEL_COUNT: Mapping[Channels, int] = {"rgb": 3, "luma": 1, "yuv": 6}
BT709 = Colour(matrix="bt709", range="limited", primaries="bt709", transfer="bt709")
SAMPLE_RATE = 48_000
FIVE_FRAMES = [Fraction(number, 25) for number in range(5)]


def make_picture(
    *,
    width: int,
    height: int,
    scale: Scale,
    frame_count: int = 1,
    colour: Colour = BT709,
    variable: bool = False,
    bit_depth: BitDepth = 8,
    duration_seconds: float | None = None,
) -> Picture:
    """A picture of that display size, by default at 25 frames per second."""
    return Picture(
        scale=scale,
        display_width=width,
        display_height=height,
        base_width=base_size(width, scale),
        base_height=base_size(height, scale),
        bit_depth=bit_depth,
        frame_count=frame_count,
        average_frame_rate=Rational(numerator=25, denominator=1),
        variable_frame_rate=variable,
        duration_seconds=frame_count / 25 if duration_seconds is None else duration_seconds,
        colour=colour,
    )


def make_grid(picture: Picture, *, width: int, height: int, halo: int) -> PatchGrid:
    """The grid of such patches over the picture's base frames."""
    return make_patch_grid(
        base_width=picture.base_width,
        base_height=picture.base_height,
        patch_width=width,
        patch_height=height,
        halo=halo,
    )


def random_frame(
    width: int, height: int, *, seed: int = 0, time: Fraction = Fraction(0), bit_depth: BitDepth = 8
) -> YuvFrame:
    """Noise in all three planes."""
    random = np.random.default_rng(seed)
    chroma = (-(-height // 2), -(-width // 2))
    end, kind = 1 << bit_depth, np.uint8 if bit_depth == 8 else np.uint16
    return YuvFrame(
        y=random.integers(0, end, (height, width), dtype=kind),
        u=random.integers(0, end, chroma, dtype=kind),
        v=random.integers(0, end, chroma, dtype=kind),
        time=time,
        bit_depth=bit_depth,
    )


def moving_frames(picture: Picture, times: Sequence[Fraction], *, bit_depth: BitDepth = 8) -> list[YuvFrame]:
    """Base frames of a textured pattern that wanders, of the base stream's depth."""
    rows, columns = np.mgrid[: picture.base_height, : picture.base_width]
    step, peak, kind = 1 << (bit_depth - 8), (1 << bit_depth) - 1, np.uint8 if bit_depth == 8 else np.uint16
    frames = []
    for number, time in enumerate(times):
        y = 128 + 40 * np.sin((columns + 3 * number) / 3.1) + 25 * np.cos((rows * 2 - columns + number) / 2.3)
        u = 128 + 40 * np.sin((columns[::2, ::2] - rows[::2, ::2] + 5 * number) / 6.0)
        v = 128 + 40 * np.cos((columns[::2, ::2] + 2 * rows[::2, ::2]) / 7.0 + number)
        y, u, v = (np.clip(step * plane, 0, peak).astype(kind) for plane in (y, u, v))
        frames.append(YuvFrame(y=y, u=u, v=v, time=time, bit_depth=bit_depth))
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


def sharpening_network(
    scale: int, channels: Channels = "rgb", *, seed: int = 0, size: int = 5, peak: int = 255
) -> bytes:
    """A network with a kernel of that size, whose output is the same on every machine.

    The weights are multiples of 1/32, so that the output in levels is one of 1/32 where base stream and picture have
    the same depth; the bias of 1/64 level keeps it off the ties of the rounding, where the last bit of a float would
    decide.

    Args:
        peak: 255 or 1023, the largest sample of both.
    """
    count = CHANNEL_COUNT[channels]
    random = np.random.default_rng(seed)
    weights = random.integers(-2, 3, (scale * scale * count, count, size, size)).astype(np.float32)
    for output in range(len(weights)):
        source = output // (scale * scale)
        weights[output, source, size // 2, size // 2] += 32 - weights[output].sum()
    return convolution_network(
        (weights / 32).astype(np.float32), np.full(len(weights), 1 / (64 * peak), np.float32), scale=scale
    )


def write_base_stream(
    path: Path,
    frames: Sequence[YuvFrame],
    *,
    time_base: Fraction = Fraction(1, 12_800),
    options: dict[str, str] | None = None,
    sound_seconds: float = 0,
    sound_encoder: str = "aac",
    segment_starts: Sequence[int] = (0,),
) -> None:
    """A base stream of lossless H.264, each frame at its time, and sound if asked for.

    Args:
        sound_encoder: FFmpeg's name of one that takes planar floats.
        segment_starts: the frames that are made key frames; no other is one.
    """
    container_options = {
        "movflags": "frag_keyframe+delay_moov+default_base_moof+skip_trailer",
        "movie_timescale": str(time_base.denominator),
        "video_track_timescale": str(time_base.denominator),
    }
    ten_bits = frames[0].y.dtype == np.uint16
    pixel_format = "yuv420p10le" if ten_bits else "yuv420p"
    with av.open(str(path), "w", format="mp4", options=container_options) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = frames[0].y.shape[1], frames[0].y.shape[0], pixel_format
        stream.time_base = stream.codec_context.time_base = time_base
        key_frames = {"forced-idr": "1", "x264-params": "keyint=infinite:min-keyint=1:scenecut=0:open-gop=0"}
        stream.codec_context.options = {"qp": "0", "bf": "0", "threads": "1", **key_frames, **(options or {})}
        sound = container.add_stream(sound_encoder, rate=SAMPLE_RATE, layout="mono") if sound_seconds else None
        for number, frame in enumerate(frames):
            planes = np.concatenate([plane.reshape(-1) for plane in (frame.y, frame.u, frame.v)])
            picture = av.VideoFrame.from_ndarray(planes.reshape(-1, frame.y.shape[1]), format=pixel_format)
            picture.pts, picture.time_base = round(frame.time / time_base), time_base
            if number in segment_starts:
                picture.pict_type = PictureType.I
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
        if sound is not None:
            assert isinstance(sound, av.AudioStream)
            tone = np.sin(np.arange(round(sound_seconds * SAMPLE_RATE)) * (2 * np.pi * 440 / SAMPLE_RATE))
            group = av.AudioFrame.from_ndarray(tone[np.newaxis].astype(np.float32), format="fltp", layout="mono")
            group.sample_rate, group.pts = SAMPLE_RATE, 0
            container.mux(sound.encode(group))
            container.mux(sound.encode(None))


def stream_segments(path: Path) -> list[Segment]:
    """The segments of a base stream, one for each key frame, without a patch index."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.pts is not None]
    times = sorted(packet.pts for packet in packets if packet.pts is not None)
    starts = [packet.pts for packet in packets if packet.is_keyframe and packet.pts is not None]
    return [
        Segment(first_frame=times.index(start), time_ticks=start, base_stream=part, patch_index=None)
        for start, part in zip(starts, read_stream_ranges(path).fragments, strict=True)
    ]


def write_bundle(
    folder: Path,
    *,
    picture: Picture,
    grid: PatchGrid | None,
    networks: Sequence[bytes | Network],
    numbers: npt.NDArray[np.uint8],
    channels: Channels = "rgb",
    lossless: bool = True,
    receptive_radius: int = 2,
) -> Path:
    """Write tables, playlist, networks, patch index and manifest beside the base.mp4 that is in the folder already.

    Args:
        grid: None, and no networks, for a plain stream.
        networks: ONNX files, or entries that have no file or one that is there already.
        numbers: (frames, patches), the network of each patch.
    """
    segments = stream_segments(folder / "base.mp4")
    if grid is not None:
        segments = _write_patch_index(folder, segments, numbers)
    base_stream = _base_stream(folder, lossless=lossless)
    playlist = media_playlist(
        segments,
        header_byte_count=base_stream.header.byte_count,
        time_base=base_stream.time_base.fraction,
        duration_seconds=picture.duration_seconds,
    )
    table = _write(folder, "segments.bin", encode_segment_table(segments))
    manifest = Manifest(
        format=FORMAT_NAME,
        format_version=FORMAT_VERSION,
        bundle_id="test-bundle",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        source=_source(picture, base_stream.audio_codec),
        picture=picture,
        base_stream=base_stream,
        segments=SegmentTable(**table.model_dump(), segment_count=len(segments)),
        playlist=_write(folder, "base.m3u8", playlist.encode()),
        patch_grid=grid,
        networks=tuple(
            data if isinstance(data, Network) else _network(folder, number, data, channels, receptive_radius)
            for number, data in enumerate(networks)
        ),
        patch_index=None if grid is None else PatchIndex(**_entry(folder, "index.bin").model_dump()),
        quality=_quality(_write(folder, "quality/report.json", b"{}")),
        provenance=Provenance(method="stdo", settings={}, software={}, device="none"),
    )
    (folder / "manifest.json").write_bytes(manifest_bytes(manifest))
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
    bit_depth: BitDepth = 8,
    base_bit_depth: BitDepth = 8,
    networks: Sequence[bytes | Network] | None = None,
    numbers: npt.NDArray[np.uint8] | None = None,
    sound_seconds: float = 0,
    sound_encoder: str = "aac",
    segment_starts: Sequence[int] = (0, 2, 4),
    base_stream_options: dict[str, str] | None = None,
    receptive_radius: int = 2,
) -> Path:
    """A whole bundle in an empty folder, by default with an odd size and patches that don't divide it.

    Args:
        networks: two that sharpen by default; an empty list makes a bundle without networks.
        numbers: (frames, patches), the network of each patch; by default at random.
    """
    folder.mkdir(parents=True, exist_ok=True)
    distances = {later - earlier for earlier, later in pairwise(times)}
    picture = make_picture(
        width=width,
        height=height,
        scale=scale,
        frame_count=len(times),
        colour=colour,
        variable=len(distances) > 1,
        bit_depth=bit_depth,
        duration_seconds=float(times[-1] - times[0]) + 1 / 25,
    )
    frames = moving_frames(picture, times, bit_depth=base_bit_depth)
    write_base_stream(
        folder / "base.mp4",
        frames,
        options=base_stream_options,
        sound_seconds=sound_seconds,
        sound_encoder=sound_encoder,
        segment_starts=segment_starts,
    )
    if networks is None:
        networks = [sharpening_network(scale, channels, seed=1), sharpening_network(scale, channels, seed=2)]
    grid = make_grid(picture, width=patch[0], height=patch[1], halo=halo)
    if numbers is None:
        shape = (len(times), grid.patch_count)
        numbers = np.random.default_rng(7).integers(0, max(1, len(networks)), shape, dtype=np.uint8)
    return write_bundle(
        folder,
        picture=picture,
        grid=grid if networks else None,
        networks=networks,
        numbers=numbers,
        channels=channels,
        lossless=not base_stream_options,
        receptive_radius=receptive_radius,
    )


def _write_patch_index(folder: Path, segments: list[Segment], numbers: npt.NDArray[np.uint8]) -> list[Segment]:
    """The segments with their parts of the index, which is written."""
    with_index, parts = [], b""
    for place, segment in enumerate(segments):
        frames = frames_of_segment(segments, place, len(numbers))
        part = encode_segment(numbers[frames.start : frames.stop])
        reference = ByteRange(offset=len(parts), byte_count=len(part), sha256=hashlib.sha256(part).hexdigest())
        with_index.append(replace(segment, patch_index=reference))
        parts += part
    _write(folder, "index.bin", parts)
    return with_index


def _base_stream(folder: Path, *, lossless: bool) -> BaseStream:
    header = read_stream_ranges(folder / "base.mp4").header
    with av.open(str(folder / "base.mp4")) as container:
        video, sound = container.streams.video[0], next(iter(container.streams.audio), None)
        assert video.time_base is not None
        audio_codec = None if sound is None else sound.codec_context.codec.canonical_name
        return BaseStream(
            **_entry(folder, "base.mp4").model_dump(),
            codec="h264",
            bit_depth=10 if video.pix_fmt == "yuv420p10le" else 8,
            mime_type=mime_type(
                codecs_string("h264", video.codec_context.extradata or b""),
                None if sound is None else audio_codecs_string(audio_codec or "", sound.codec_context.extradata or b""),
            ),
            time_base=Rational.of(video.time_base),
            header=StreamHeader(byte_count=header.byte_count, sha256=header.sha256),
            lossless=lossless,
            audio_codec=audio_codec,
        )


def _network(folder: Path, number: int, data: bytes, channels: Channels, receptive_radius: int) -> Network:
    return Network(
        coding="onnx",
        file=_write(folder, f"networks/{number}.onnx", data),
        channels=channels,
        receptive_radius=receptive_radius,
        difficulty_rank=number,
        architecture="test",
        precision="fp32",
        parameter_count=1,
        multiply_accumulates_per_base_pixel=1.0,
    )


def _write(folder: Path, path: str, data: bytes) -> FileEntry:
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return _entry(folder, path)


def _entry(folder: Path, path: str) -> FileEntry:
    data = (folder / path).read_bytes()
    return FileEntry(path=path, byte_count=len(data), sha256=hashlib.sha256(data).hexdigest())


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
    return Quality(
        bit_depth=8,
        frames_measured=1,
        restored=figures,
        bicubic=figures,
        lanczos=figures,
        f0=figures,
        precision_loss=loss,
        files=(report,),
    )
