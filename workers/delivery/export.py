"""The files of a bundle that a client needs: base stream, playlist, segment table, patch index, networks."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from models.cost import multiply_accumulates, parameter_count
from models.receptive_field import receptive_radius
from stdo.bundle.files import file_sha256
from stdo.bundle.manifest import BaseStream, FileEntry, Network, PatchIndex, SegmentTable
from stdo.bundle.patch_index import encode_segment
from stdo.bundle.segments import ByteRange, Segment, encode_segment_table
from workers.base_stream.encode import EncodedBaseStream
from workers.delivery.networks import JobNetworks
from workers.delivery.onnx_graph import network_to_onnx
from workers.progress import Progress
from workers.training.groups import GroupPlan
from workers.training.sharing import IndexArray
from workers.work_folder import WorkFolder

_MEASURED_SIZE = 48
"""Side of the base picture on which multiply-accumulates are counted, as in the paper's Table 3."""


@dataclass(frozen=True, kw_only=True)
class ExportedFiles:
    """What the manifest says of the files that are delivered."""

    base_stream: BaseStream
    segments: SegmentTable
    playlist: FileEntry
    networks: tuple[Network, ...]
    patch_index: PatchIndex


def export_files(
    files: WorkFolder, base_stream: EncodedBaseStream, networks: JobNetworks, groups: GroupPlan, report: Progress
) -> ExportedFiles:
    """Write the bundle's folder anew, all but manifest and reports."""
    shutil.rmtree(files.bundle, ignore_errors=True)
    (files.bundle / "networks").mkdir(parents=True)
    segments, patch_index = _export_segments(groups.numbers, base_stream, files.bundle)
    return ExportedFiles(
        base_stream=_export_base_stream(files, base_stream),
        segments=segments,
        playlist=_placed(files.playlist, files.bundle),
        networks=_export_networks(networks, groups.difficulty_ranks, files.bundle, report),
        patch_index=patch_index,
    )


def file_entry(bundle: Path, path: Path) -> FileEntry:
    """What the manifest says of a file in the bundle's folder."""
    return FileEntry(path=path.relative_to(bundle).as_posix(), byte_count=path.stat().st_size, sha256=file_sha256(path))


def _export_base_stream(files: WorkFolder, base_stream: EncodedBaseStream) -> BaseStream:
    return BaseStream(
        **_placed(files.base_stream, files.bundle).model_dump(),
        codec=base_stream.codec,
        bit_depth=base_stream.bit_depth,
        mime_type=base_stream.mime_type,
        time_base=base_stream.time_base,
        header=base_stream.header,
        lossless=base_stream.lossless,
        audio_codec=base_stream.audio_codec,
    )


def _placed(path: Path, bundle: Path) -> FileEntry:
    """A file of the work folder in the bundle's folder as well, without a copy of its bytes."""
    target = bundle / path.name
    os.link(path.resolve(), target)
    return file_entry(bundle, target)


def _export_segments(
    numbers: IndexArray, base_stream: EncodedBaseStream, bundle: Path
) -> tuple[SegmentTable, PatchIndex]:
    """Write patch index and segment table. The index is cut where the base stream is."""
    index_path, table_path = bundle / "index.bin", bundle / "segments.bin"
    ends = [*(each.first_frame for each in base_stream.segments), len(numbers)]
    segments, offset = [], 0
    with index_path.open("wb") as file:
        for encoded, (start, end) in zip(base_stream.segments, pairwise(ends), strict=True):
            coded = encode_segment(numbers[start:end])
            file.write(coded)
            digest = hashlib.sha256(coded).hexdigest()
            segments.append(
                Segment(
                    first_frame=encoded.first_frame,
                    time_ticks=encoded.time_ticks,
                    base_stream=ByteRange(offset=encoded.offset, byte_count=encoded.byte_count, sha256=encoded.sha256),
                    patch_index=ByteRange(offset=offset, byte_count=len(coded), sha256=digest),
                )
            )
            offset += len(coded)
    table_path.write_bytes(encode_segment_table(segments))
    table = SegmentTable(**file_entry(bundle, table_path).model_dump(), segment_count=len(segments))
    return table, PatchIndex(**file_entry(bundle, index_path).model_dump())


def _export_networks(
    networks: JobNetworks, difficulty_ranks: tuple[int, ...], bundle: Path, report: Progress
) -> tuple[Network, ...]:
    settings = networks.settings
    entries = []
    for number, (trained, module) in enumerate(zip(networks.trained, networks.modules, strict=True)):
        path = bundle / "networks" / f"{number}.onnx"
        path.write_bytes(
            network_to_onnx(
                module,
                channels=settings.training.channels,
                precision=settings.export.precision,
                rounded=trained.rounded,
            )
        )
        cost = multiply_accumulates(module, base_height=_MEASURED_SIZE, base_width=_MEASURED_SIZE)
        entries.append(
            Network(
                coding="onnx",
                file=file_entry(bundle, path),
                channels=settings.training.channels,
                receptive_radius=receptive_radius(settings.training.architecture, settings.scale),
                difficulty_rank=difficulty_ranks[number],
                architecture=settings.training.architecture,
                precision=settings.export.precision,
                parameter_count=parameter_count(module),
                multiply_accumulates_per_base_pixel=cost / _MEASURED_SIZE**2,
            )
        )
        report("export", number + 1, len(networks.trained), "files")
    return tuple(entries)
