"""The manifest of a bundle: first without quality, so that the bundle can be opened and measured, then whole."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from models.general import general_network_sha256
from stdo.bundle.bundle import open_bundle
from stdo.bundle.manifest import FORMAT_VERSION, FileEntry, Manifest, Provenance, Quality, manifest_bytes
from stdo.bundle.manifest_reader import MANIFEST_NAME
from workers.base_stream.encode import EncodedBaseStream
from workers.base_stream.frame_pairs import VideoFiles
from workers.delivery.export import ExportedFiles
from workers.delivery.measure import Measurement
from workers.delivery.networks import JobNetworks


@dataclass(frozen=True, kw_only=True)
class BundleName:
    """What a bundle is known by. Nothing else in it depends on when, and for whom, it was made."""

    bundle_id: str
    created_at: datetime


def assemble_manifest(
    exported: ExportedFiles,
    video: VideoFiles,
    networks: JobNetworks,
    base_stream: EncodedBaseStream,
    name: BundleName,
) -> Manifest:
    """The manifest without quality."""
    settings, layout = networks.settings, video.layout
    return Manifest(
        format="stdo-bundle",
        format_version=FORMAT_VERSION,
        bundle_id=name.bundle_id,
        created_at=name.created_at,
        picture=layout.picture,
        patch_grid=layout.grid,
        base_stream=exported.base_stream,
        segments=exported.segments,
        playlist=exported.playlist,
        networks=exported.networks,
        patch_index=exported.patch_index,
        source=video.info.source_of(layout.picture),
        provenance=Provenance(
            method=settings.method,
            settings=settings.model_dump(mode="json"),
            software=_software(networks, base_stream),
            device=networks.devices,
        ),
    )


def with_quality(manifest: Manifest, measurement: Measurement, reports: tuple[FileEntry, ...]) -> Manifest:
    """The whole manifest."""
    quality = Quality(
        bit_depth=measurement.layout.picture.bit_depth,
        frames_measured=len(measurement.frames),
        restored=measurement.quality("restored"),
        bicubic=measurement.quality("bicubic"),
        lanczos=measurement.quality("lanczos"),
        f0=measurement.quality("f0"),
        precision_loss=measurement.precision_loss,
        files=reports,
    )
    return manifest.model_copy(update={"quality": quality})


def write_manifest(bundle: Path, manifest: Manifest) -> Manifest:
    """Write it beside its files, and read it back as every client does.

    Returns:
        What a client reads.

    Raises:
        StdoError: manifest and segment table break a rule of the format.
    """
    (bundle / MANIFEST_NAME).write_bytes(manifest_bytes(manifest))
    with open_bundle(bundle) as opened:
        # Reading the segment table checks it; opening the bundle checks the manifest alone.
        _ = opened.segments
        return opened.manifest


def _software(networks: JobNetworks, base_stream: EncodedBaseStream) -> dict[str, str]:
    """Versions: of what made the stream and the networks where that was done, else of this machine."""
    settings = networks.settings
    return {
        **{name: version(name) for name in ("stdo", "onnxruntime", "numpy")},
        "torch": networks.torch_versions,
        "python": platform.python_version(),
        "ffmpeg": base_stream.ffmpeg_version,
        "general_network": general_network_sha256(settings.general_network, settings.scale),
    }
