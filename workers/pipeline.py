"""The encoding pipeline from top to bottom: prepare, train (once a network), finish. A table of contents of stages/.

Paths and values in, files out; no rows, no queues, no HTTP. Each part may run in another process and on another machine
than the one before: all that it needs is the source and the files of its work folder.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from core.presets import EncodingSettings
from stdo.bundle.manifest import Manifest
from workers.base_stream.encode import EncodedBaseStream, encode_base_stream
from workers.base_stream.frame_pairs import VideoFiles, patch_grid
from workers.delivery.export import export_networks, export_patch_index
from workers.delivery.manifest_writer import assemble_manifest, copy_base_stream, delivered_decoder
from workers.delivery.measure import evaluate
from workers.delivery.quality_files import write_quality_files
from workers.ffmpeg.program import FFmpeg
from workers.progress import Progress
from workers.source.probe import SourceInfo, SourceLimits, probe_source
from workers.training.device import select_device
from workers.training.groups import GroupPlan, plan_groups
from workers.training.score import PatchScores, check_patch_count, score_patches
from workers.training.train import train_network
from workers.training.trained_network import TrainedNetwork
from workers.work_folder import WorkFolder


def prepare(
    source: Path,
    settings: EncodingSettings,
    work: Path,
    *,
    device: str,
    report: Progress,
    limits: SourceLimits,
    ffmpeg: FFmpeg,
) -> GroupPlan:
    """Probe, encode the low-resolution stream, score its patches, group them.

    Returns:
        The plan; its `used_network_count` says how many networks there are to train.
    """
    files = WorkFolder(root=work)
    # First of all: a device that isn't there shall fail before an hour of encoding.
    torch_device = select_device(device)
    info = probe_source(source, limits=limits, report=report, program=ffmpeg)
    files.source_info.write_text(info.model_dump_json())
    check_patch_count(info.picture(settings.scale), settings)
    base_stream = encode_base_stream(source, info, settings, files.base_stream, report, program=ffmpeg)
    files.base_stream_info.write_text(base_stream.model_dump_json())
    video = VideoFiles(source=source, base_stream=files.base_stream, info=info, ffmpeg=ffmpeg)
    scores = score_patches(video, settings, device=torch_device, report=report)
    scores.save(files.scores)
    plan = plan_groups(scores, settings)
    plan.save(files.plan)
    report("groups", 1, 1, "files")
    return plan


def train(
    source: Path,
    settings: EncodingSettings,
    work: Path,
    network_number: int,
    *,
    device: str,
    report: Progress,
    ffmpeg: FFmpeg,
) -> TrainedNetwork:
    """Overfit one of the planned networks, from its checkpoint where there is one."""
    files = WorkFolder(root=work)
    trained = train_network(
        _video(source, files, ffmpeg),
        GroupPlan.load(files.plan),
        settings,
        network_number,
        checkpoint=files.checkpoint(network_number),
        device=select_device(device),
        report=report,
    )
    trained.save(files.network(network_number))
    return trained


def finish(
    source: Path,
    settings: EncodingSettings,
    work: Path,
    *,
    bundle_id: str,
    created_at: datetime,
    report: Progress,
    ffmpeg: FFmpeg,
) -> Manifest:
    """Export what was trained, measure it as a client would see it, and complete the bundle in `work`/bundle.

    Args:
        created_at: goes into the manifest; nothing else in a bundle depends on the time it is made.

    Returns:
        The manifest, which is written last.
    """
    files = WorkFolder(root=work)
    video, plan, scores = _video(source, files, ffmpeg), GroupPlan.load(files.plan), PatchScores.load(files.scores)
    picture = video.info.picture(settings.scale)
    grid = patch_grid(picture, settings)
    trained = [TrainedNetwork.load(files.network(index)) for index in range(plan.used_network_count)]
    networks = export_networks(trained, settings, files.bundle, report)
    patch_index = export_patch_index(plan.network_of_patch, picture, files.bundle)
    base_stream = EncodedBaseStream.model_validate_json(files.base_stream_info.read_bytes())
    decoder = delivered_decoder(files.bundle, networks, patch_index, trained, settings, picture=picture, grid=grid)
    evaluation = evaluate(video, decoder, scores, report)
    quality_files = write_quality_files(
        files.bundle, evaluation=evaluation, scores=scores, segments=patch_index.segments, picture=picture, grid=grid
    )
    manifest = assemble_manifest(
        bundle_id=bundle_id,
        created_at=created_at,
        info=video.info,
        settings=settings,
        base_stream=copy_base_stream(files, base_stream),
        networks=networks,
        patch_index=patch_index,
        evaluation=evaluation,
        quality_files=quality_files,
        device=", ".join(sorted({network.device for network in trained})),
        torch_version=", ".join(sorted({network.torch_version for network in trained})),
        ffmpeg_version=base_stream.ffmpeg_version,
    )
    (files.bundle / "manifest.json").write_text(manifest.model_dump_json(indent=1))
    return manifest


def _video(source: Path, files: WorkFolder, ffmpeg: FFmpeg) -> VideoFiles:
    info = SourceInfo.model_validate_json(files.source_info.read_bytes())
    return VideoFiles(source=source, base_stream=files.base_stream, info=info, ffmpeg=ffmpeg)
