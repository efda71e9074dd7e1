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
        """What the probe found: workers.stages.probe.SourceInfo as JSON."""
        return self.root / "source_info.json"

    @property
    def low_res(self) -> Path:
        """The low-resolution stream."""
        return self.root / "low_res.mp4"

    @property
    def low_res_info(self) -> Path:
        """What the low-resolution stream is: workers.stages.low_res.LowResVideo as JSON."""
        return self.root / "low_res.json"

    @property
    def scores(self) -> Path:
        """workers.stages.score.PatchScores"""
        return self.root / "scores.npz"

    @property
    def plan(self) -> Path:
        """workers.stages.chunks.ChunkPlan"""
        return self.root / "plan.npz"

    def network(self, index: int) -> Path:
        """workers.trained_network.TrainedNetwork"""
        return self.root / f"network_{index}.safetensors"

    def checkpoint(self, index: int) -> Path:
        """The state of an unfinished training."""
        return self.root / f"checkpoint_{index}.safetensors"

    @property
    def bundle(self) -> Path:
        """The finished bundle: manifest.json and all files beside it."""
        return self.root / "bundle"
