"""Whole encodes of small clips, without the service around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.presets import EncodingSettings, resolve_settings
from stdo.bundle.manifest import Manifest
from stdo.service.resources import ProgressUnit, Stage
from workers import pipeline
from workers.base_stream.encode import encode_base_stream
from workers.base_stream.frame_pairs import VideoFiles
from workers.ffmpeg.program import FFmpeg
from workers.progress import Progress
from workers.source.probe import SourceLimits, probe_source
from workers.work_folder import WorkFolder

SMALL: Mapping[str, Any] = {
    "patches": {"width": 32, "height": 24},
    "groups": {"count": 2},
    "training": {"steps": 60, "batch_size": 4},
    "base_stream": {"crf": 8},
}
CREATED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass
class Reports:
    """A `Progress` that remembers what it was told, and checks it."""

    seen: list[tuple[Stage, int, int, ProgressUnit]] = field(default_factory=list)

    def __call__(self, stage: Stage, done: int, total: int, unit: ProgressUnit) -> None:
        assert 0 <= done <= total
        self.seen.append((stage, done, total, unit))

    def stages(self) -> list[Stage]:
        return list(dict.fromkeys(stage for stage, *_ in self.seen))

    def last(self, stage: Stage) -> tuple[int, int, ProgressUnit]:
        return [(done, total, unit) for name, done, total, unit in self.seen if name == stage][-1]


@dataclass(frozen=True)
class Run:
    """A finished encode."""

    source: Path
    settings: EncodingSettings
    work: WorkFolder
    manifest: Manifest
    reports: Reports


def settings_of(*overrides: Mapping[str, Any]) -> EncodingSettings:
    """SMALL with changes, group by group."""
    merged: dict[str, Any] = dict(SMALL)
    for change in overrides:
        for key, value in change.items():
            merged[key] = {**merged.get(key, {}), **value} if isinstance(value, Mapping) else value
    return resolve_settings("fast", merged)


def encode(source: Path, work: Path, settings: EncodingSettings) -> Run:
    """Prepare, train each network, finish."""
    work.mkdir(parents=True)
    reports, program = Reports(), FFmpeg()
    plan = pipeline.prepare(source, settings, work, device="cpu", limits=SourceLimits(), ffmpeg=program, report=reports)
    for index in range(plan.used_network_count):
        pipeline.train(source, settings, work, index, device="cpu", ffmpeg=program, report=reports)
    manifest = pipeline.finish(
        source, settings, work, bundle_id="b1", created_at=CREATED_AT, ffmpeg=program, report=reports
    )
    return Run(source=source, settings=settings, work=WorkFolder(root=work), manifest=manifest, reports=reports)


def encoded_base_stream(source: Path, work: Path, settings: EncodingSettings) -> VideoFiles:
    """What the stages after base_stream begin with."""

    def silent(stage: Stage, done: int, total: int, unit: ProgressUnit) -> None:
        return

    report: Progress = silent
    program = FFmpeg()
    info = probe_source(source, limits=SourceLimits(), report=report, program=program)
    base_stream = work / "base.mp4"
    encode_base_stream(source, info, settings, base_stream, report, program=program)
    return VideoFiles(source=source, base_stream=base_stream, info=info, ffmpeg=program)
