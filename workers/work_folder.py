"""The names of the files that one part of the pipeline leaves for the next: core.jobs.part_kinds says for which."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class WorkFolder:
    """A job's working folder. What the probe finds out lies in it too, under names that SourceInfo chooses."""

    root: Path

    @property
    def base_stream(self) -> Path:
        """The base stream."""
        return self.root / "base.mp4"

    @property
    def playlist(self) -> Path:
        """The base stream as an HLS playlist."""
        return self.root / "base.m3u8"

    @property
    def base_stream_info(self) -> Path:
        """What the base stream is: workers.base_stream.encode.EncodedBaseStream as JSON."""
        return self.root / "base_stream.json"

    @property
    def scores(self) -> Path:
        """workers.training.score.PatchScores"""
        return self.root / "scores.npz"

    @property
    def plan(self) -> Path:
        """workers.training.groups.GroupPlan"""
        return self.root / "plan.npz"

    def training(self, number: int) -> Path:
        """What a training has made: workers.training.trained_network.TrainedNetworks"""
        return self.root / f"training_{number}.safetensors"

    def checkpoint(self, number: int) -> Path:
        """The state of an unfinished training."""
        return self.root / f"checkpoint_{number}.safetensors"

    @property
    def bundle(self) -> Path:
        """The finished bundle: manifest.json and all files beside it."""
        return self.root / "bundle"
