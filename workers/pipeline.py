"""The encoding pipeline from top to bottom: probe, encode, plan, train (once a training), finish. A table of contents.

Paths and values in, files out; no rows, no queues, no HTTP. Each part may run in another process and on another machine
than the one before: all that it needs is the source and the files of its work folder. `probe` serves every job on its
video; the other parts are of one job.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from core.encoding_settings import EncodingSettings
from stdo.bundle.bundle import open_bundle
from stdo.bundle.manifest import Manifest
from workers.base_stream.encode import EncodedBaseStream, encode_base_stream
from workers.base_stream.frame_pairs import VideoFiles, frame_layout
from workers.base_stream.patch_limits import check_patch_count
from workers.delivery.export import export_files
from workers.delivery.manifest import BundleName, assemble_manifest, with_quality, write_manifest
from workers.delivery.measure import measure
from workers.delivery.networks import JobNetworks
from workers.delivery.reports import write_reports
from workers.ffmpeg.program import FFmpeg
from workers.progress import Progress
from workers.source.probe import SourceInfo, SourceLimits, probe_source
from workers.training.device import select_device
from workers.training.groups import GroupPlan, plan_groups
from workers.training.score import score_patches
from workers.training.train import train as train_networks
from workers.training.trained_network import TrainedNetworks
from workers.work_folder import WorkFolder


def probe(
    source: Path, work: Path, *, limits: SourceLimits, sha256: str, report: Progress, ffmpeg: FFmpeg
) -> SourceInfo:
    """Find out what the uploaded file, with this hash, is; once for a video."""
    info = probe_source(source, limits=limits, report=report, program=ffmpeg, sha256=sha256)
    info.save(work)
    return info


def encode(
    source: Path, settings: EncodingSettings, work: Path, *, report: Progress, ffmpeg: FFmpeg
) -> EncodedBaseStream:
    """Downscale the source and encode the base stream."""
    files, info = WorkFolder(root=work), SourceInfo.load(work)
    # First of all: what can't be planned shall fail before an hour of encoding.
    check_patch_count(frame_layout(info, settings), info.segment_starts(settings))
    base_stream = encode_base_stream(source, info, settings, work, report, program=ffmpeg)
    files.base_stream_info.write_text(base_stream.model_dump_json())
    return base_stream


def plan(
    source: Path, settings: EncodingSettings, work: Path, *, device: str, report: Progress, ffmpeg: FFmpeg
) -> GroupPlan:
    """Score the patches of the decoded base stream and group them; the plan says which trainings there are."""
    files, torch_device = WorkFolder(root=work), select_device(device)
    scores = score_patches(_video(source, settings, files, ffmpeg), settings, device=torch_device, report=report)
    scores.save(files.scores)
    groups = plan_groups(scores, settings)
    groups.save(files.plan)
    report("group", 1, 1, "files")
    return groups


def train(
    source: Path,
    settings: EncodingSettings,
    work: Path,
    training_number: int,
    *,
    device: str,
    report: Progress,
    ffmpeg: FFmpeg,
) -> TrainedNetworks:
    """Overfit the networks of one of the planned trainings, from its checkpoint where there is one."""
    files = WorkFolder(root=work)
    trained = train_networks(
        _video(source, settings, files, ffmpeg),
        GroupPlan.load(files.plan),
        settings,
        training_number,
        checkpoint=files.checkpoint(training_number),
        device=select_device(device),
        report=report,
    )
    trained.save(files.training(training_number))
    return trained


def finish(
    source: Path,
    settings: EncodingSettings,
    work: Path,
    *,
    bundle_id: str,
    created_at: datetime,
    device: str,
    report: Progress,
    ffmpeg: FFmpeg,
) -> Manifest:
    """Write the bundle into `work`/bundle, restore it from there as a client does, and measure what comes of it.

    Args:
        created_at: goes into the manifest; but for it and `bundle_id`, the same job gives the same bytes.

    Returns:
        The manifest. It is written twice: without quality, so that the bundle can be opened and measured, then whole.
    """
    files, torch_device = WorkFolder(root=work), select_device(device)
    video, groups = _video(source, settings, files, ffmpeg), GroupPlan.load(files.plan)
    base_stream = EncodedBaseStream.model_validate_json(files.base_stream_info.read_bytes())
    networks = JobNetworks.load((files.training(training.number) for training in groups.trainings), settings)
    exported = export_files(files, base_stream, networks, groups, report)
    name = BundleName(bundle_id=bundle_id, created_at=created_at)
    manifest = write_manifest(files.bundle, assemble_manifest(exported, video, networks, base_stream, name))
    with open_bundle(files.bundle) as bundle:
        measurement = measure(bundle, video, networks, files.scores, device=torch_device, report=report)
        reports = write_reports(files.bundle, bundle, measurement)
    return write_manifest(files.bundle, with_quality(manifest, measurement, reports))


def _video(source: Path, settings: EncodingSettings, files: WorkFolder, ffmpeg: FFmpeg) -> VideoFiles:
    info = SourceInfo.load(files.root)
    layout = frame_layout(info, settings)
    return VideoFiles(source=source, base_stream=files.base_stream, info=info, layout=layout, ffmpeg=ffmpeg)
