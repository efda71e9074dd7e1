"""Put the parts of a bundle together: the low-resolution stream, a decoder on the delivered files, the manifest."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from core.presets import EncodingSettings
from models.general import general_network_sha256
from stdo.bundle.manifest import (
    BaseStream,
    FileEntry,
    Manifest,
    Network,
    PatchGrid,
    PatchIndex,
    Picture,
    Provenance,
    Quality,
)
from stdo.bundle.patch_index import decode_segment
from stdo.decoder.upscale import OnnxUpscaler
from workers.base_stream.encode import EncodedBaseStream
from workers.base_stream.frame_pairs import patch_grid
from workers.delivery.export import file_entry, network_bytes
from workers.delivery.measure import Decoder, Evaluation
from workers.source.probe import SourceInfo
from workers.training.trained_network import TrainedNetwork
from workers.work_folder import WorkFolder


def copy_base_stream(files: WorkFolder, base_stream: EncodedBaseStream) -> BaseStream:
    """Put the low-resolution stream into the bundle's folder."""
    path = files.bundle / "base.mp4"
    shutil.copyfile(files.base_stream, path)
    return BaseStream(
        **file_entry(files.bundle, path).model_dump(),
        codec=base_stream.codec,
        lossless=base_stream.lossless,
        audio_codec=base_stream.audio_codec,
    )


def delivered_decoder(
    bundle: Path,
    networks: Sequence[Network],
    patch_index: PatchIndex,
    trained: Sequence[TrainedNetwork],
    settings: EncodingSettings,
    *,
    picture: Picture,
    grid: PatchGrid,
) -> Decoder:
    """What a client decodes with, from the files in the bundle's folder."""
    delivered = [(bundle / network.path).read_bytes() for network in networks]
    exact = [network_bytes(network, settings, precision="fp32") for network in trained]
    index = [
        decode_segment(
            (bundle / segment.path).read_bytes(),
            frame_count=segment.frame_count,
            patch_count=grid.rows * grid.columns,
        )
        for segment in patch_index.segments
    ]
    return Decoder(
        picture=picture,
        grid=grid,
        network_of_patch=np.concatenate(index),
        delivered=[_upscaler(model, settings) for model in delivered],
        exact=[_upscaler(model, settings) for model in exact],
    )


def assemble_manifest(
    *,
    bundle_id: str,
    created_at: datetime,
    info: SourceInfo,
    settings: EncodingSettings,
    base_stream: BaseStream,
    networks: tuple[Network, ...],
    patch_index: PatchIndex,
    evaluation: Evaluation,
    quality_files: tuple[FileEntry, ...],
    device: str,
    torch_version: str,
    ffmpeg_version: str,
) -> Manifest:
    """The manifest of a bundle whose files are all written.

    Args:
        device, torch_version: what the networks were trained on and with.
        ffmpeg_version: of the program that encoded the low-resolution stream.
    """
    picture = info.picture(settings.scale)
    return Manifest(
        bundle_id=bundle_id,
        created_at=created_at,
        source=info.source,
        picture=picture,
        patch_grid=patch_grid(picture, settings),
        base_stream=base_stream,
        networks=networks,
        patch_index=patch_index,
        quality=Quality(
            restored=evaluation.quality("restored"),
            bicubic=evaluation.quality("bicubic"),
            lanczos=evaluation.quality("lanczos"),
            f0=evaluation.quality("f0"),
            precision_loss=evaluation.precision_loss,
            files=quality_files,
        ),
        provenance=Provenance(
            method=settings.method,
            settings=settings.model_dump(mode="json"),
            software=_software(settings, torch_version=torch_version, ffmpeg_version=ffmpeg_version),
            device=device,
        ),
    )


def _upscaler(model: bytes, settings: EncodingSettings) -> OnnxUpscaler:
    # One thread each: frames are restored side by side (workers.training.frame_threads).
    return OnnxUpscaler(model, scale=settings.scale, channels=settings.training.channels, threads=1)


def _software(settings: EncodingSettings, *, torch_version: str, ffmpeg_version: str) -> dict[str, str]:
    """Versions: of what made the stream and the networks where that was done, else of this machine."""
    return {
        **{name: version(name) for name in ("stdo", "onnxruntime", "numpy")},
        "torch": torch_version,
        "python": platform.python_version(),
        "ffmpeg": ffmpeg_version,
        "general_network": general_network_sha256(settings.general_network, settings.scale),
    }
