"""The names of the files that one part of the pipeline leaves for the next."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class WorkFolder:
    """A job's working folder."""

    root: Path

    @property
    def source_info(self) -> Path:
        """What the probe found: workers.source.probe.SourceInfo as JSON."""
        return self.root / "source_info.json"

    @property
    def base_stream(self) -> Path:
        """The low-resolution stream."""
        return self.root / "base.mp4"

    @property
    def base_stream_info(self) -> Path:
        """What the low-resolution stream is: workers.base_stream.encode.EncodedBaseStream as JSON."""
        return self.root / "base.json"

    @property
    def scores(self) -> Path:
        """workers.training.score.PatchScores"""
        return self.root / "scores.npz"

    @property
    def plan(self) -> Path:
        """workers.training.groups.GroupPlan"""
        return self.root / "plan.npz"

    def network(self, index: int) -> Path:
        """workers.training.trained_network.TrainedNetwork"""
        return self.root / f"network_{index}.safetensors"

    def checkpoint(self, index: int) -> Path:
        """The state of an unfinished training."""
        return self.root / f"checkpoint_{index}.safetensors"

    @property
    def bundle(self) -> Path:
        """The finished bundle: manifest.json and all files beside it."""
        return self.root / "bundle"
