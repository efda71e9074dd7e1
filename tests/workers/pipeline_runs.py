"""Whole encodes of small clips, without the service around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from core.encoding_settings import EncodingSettings
from core.presets import resolve_settings
from stdo.bundle.files import file_sha256
from stdo.bundle.manifest import Manifest
from stdo.service.resources import ProgressUnit, Stage
from workers import pipeline
from workers.base_stream.frame_pairs import VideoFiles, frame_layout
from workers.ffmpeg.program import FFmpeg
from workers.source.probe import SourceInfo, SourceLimits
from workers.training.groups import GroupPlan
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
        if self.seen and self.seen[-1][0] == stage != "train":
            assert done >= self.seen[-1][1], f"{stage} goes back"
        self.seen.append((stage, done, total, unit))

    def stages(self) -> list[Stage]:
        return list(dict.fromkeys(stage for stage, *_ in self.seen))

    def last(self, stage: Stage) -> tuple[int, int, ProgressUnit]:
        return [(done, total, unit) for name, done, total, unit in self.seen if name == stage][-1]


@dataclass(frozen=True, kw_only=True)
class Job:
    """A source on its way through the pipeline, part by part."""

    source: Path
    settings: EncodingSettings
    work: WorkFolder
    reports: Reports = field(default_factory=Reports)
    ffmpeg: FFmpeg = field(default_factory=FFmpeg)

    def probe(self) -> SourceInfo:
        self.work.root.mkdir(parents=True, exist_ok=True)
        return pipeline.probe(
            self.source,
            self.work.root,
            limits=SourceLimits(),
            sha256=file_sha256(self.source),
            report=self.reports,
            ffmpeg=self.ffmpeg,
        )

    def encode(self) -> None:
        pipeline.encode(self.source, self.settings, self.work.root, report=self.reports, ffmpeg=self.ffmpeg)

    def plan(self, device: str = "cpu") -> GroupPlan:
        return pipeline.plan(
            self.source, self.settings, self.work.root, device=device, report=self.reports, ffmpeg=self.ffmpeg
        )

    def train(self, number: int) -> None:
        # Two threads on one small network wait for each other for most of the time where the machine is busy.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            pipeline.train(
                self.source,
                self.settings,
                self.work.root,
                number,
                device="cpu",
                report=self.reports,
                ffmpeg=self.ffmpeg,
            )
        finally:
            torch.set_num_threads(threads)

    def finish(self) -> Manifest:
        return pipeline.finish(
            self.source,
            self.settings,
            self.work.root,
            bundle_id="b1",
            created_at=CREATED_AT,
            device="cpu",
            report=self.reports,
            ffmpeg=self.ffmpeg,
        )


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished encode."""

    job: Job
    manifest: Manifest

    @property
    def bundle(self) -> Path:
        return self.job.work.bundle


def settings_of(*overrides: Mapping[str, Any]) -> EncodingSettings:
    """SMALL with changes, group by group."""
    merged: dict[str, Any] = dict(SMALL)
    for change in overrides:
        for key, value in change.items():
            merged[key] = {**merged.get(key, {}), **value} if isinstance(value, Mapping) else value
    if merged.get("method") == "awdnn":
        del merged["groups"]
    return resolve_settings("fast", merged)


def encode(source: Path, work: Path, settings: EncodingSettings) -> Run:
    """The whole pipeline in one process."""
    job = Job(source=source, settings=settings, work=WorkFolder(root=work))
    job.probe()
    job.encode()
    for training in job.plan().trainings:
        job.train(training.number)
    return Run(job=job, manifest=job.finish())


def encoded_base_stream(source: Path, work: Path, settings: EncodingSettings) -> VideoFiles:
    """What `plan` and `train` begin with."""
    job = Job(source=source, settings=settings, work=WorkFolder(root=work))
    info = job.probe()
    job.encode()
    return VideoFiles(
        source=source,
        base_stream=job.work.base_stream,
        info=info,
        layout=frame_layout(info, settings),
        ffmpeg=job.ffmpeg,
    )
