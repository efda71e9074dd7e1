"""Stage 6: the networks and the patch index as the client gets them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.presets import EncodingSettings
from models.cost import multiply_accumulates, parameter_count
from stdo.bundle.manifest import FileEntry, Network, PatchIndex, PatchIndexSegment, Picture
from stdo.bundle.patch_index import encode_segment
from workers.delivery.onnx_graph import network_to_onnx
from workers.file_hash import file_sha256
from workers.progress import Progress
from workers.training.groups import IndexArray
from workers.training.trained_network import TrainedNetwork
from workers.training.weight_coding import Precision

SEGMENT_SECONDS = 2.0
"""A streaming player fetches the patch index piece by piece; each piece starts with a frame written in full."""
_MEASURED_SIZE = 48
"""Side of the low-resolution picture on which multiply-accumulates are counted, as in the paper's Table 3."""


def export_networks(
    networks: Sequence[TrainedNetwork], settings: EncodingSettings, bundle: Path, report: Progress
) -> tuple[Network, ...]:
    """Write networks/<number>.onnx into the bundle's folder, in the precision that the settings ask for."""
    (bundle / "networks").mkdir(parents=True, exist_ok=True)
    entries = []
    for number, trained in enumerate(networks):
        path = bundle / "networks" / f"{number}.onnx"
        path.write_bytes(network_bytes(trained, settings, precision=settings.export.precision))
        entries.append(_network_entry(trained, settings, file_entry(bundle, path)))
        report("export", number + 1, len(networks), "files")
    return tuple(entries)


def network_bytes(trained: TrainedNetwork, settings: EncodingSettings, *, precision: Precision) -> bytes:
    """A network as ONNX."""
    return network_to_onnx(
        trained.network(settings, precision),
        channels=settings.training.channels,
        precision=precision,
        rounded=trained.rounded,
    )


def export_patch_index(network_of_patch: IndexArray, picture: Picture, bundle: Path) -> PatchIndex:
    """Write patch_index/<number>.bin into the bundle's folder: segments of about two seconds."""
    (bundle / "patch_index").mkdir(parents=True, exist_ok=True)
    rate = picture.average_frame_rate
    length = max(1, round(SEGMENT_SECONDS * rate.numerator / rate.denominator))
    segments = []
    for number, first_frame in enumerate(range(0, len(network_of_patch), length)):
        numbers = network_of_patch[first_frame : first_frame + length]
        path = bundle / "patch_index" / f"{number:05d}.bin"
        path.write_bytes(encode_segment(numbers))
        entry = file_entry(bundle, path)
        segments.append(PatchIndexSegment(**entry.model_dump(), first_frame=first_frame, frame_count=len(numbers)))
    return PatchIndex(segments=tuple(segments))


def file_entry(bundle: Path, path: Path) -> FileEntry:
    """What the manifest says of a file in the bundle's folder."""
    return FileEntry(path=path.relative_to(bundle).as_posix(), byte_count=path.stat().st_size, sha256=file_sha256(path))


def _network_entry(trained: TrainedNetwork, settings: EncodingSettings, file: FileEntry) -> Network:
    network = trained.network(settings, settings.export.precision)
    cost = multiply_accumulates(network, base_height=_MEASURED_SIZE, base_width=_MEASURED_SIZE)
    return Network(
        **file.model_dump(),
        architecture=settings.training.architecture,
        channels=settings.training.channels,
        precision=settings.export.precision,
        parameter_count=parameter_count(network),
        multiply_accumulates_per_base_pixel=cost / _MEASURED_SIZE**2,
    )
