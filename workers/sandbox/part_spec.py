"""What a task and its step (a child process) say to each other: the spec file, and the lines on the step's stdout."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from core.jobs.progress import StageReport
from core.presets import EncodingSettings
from stdo.service.resources import Failure
from workers.ffmpeg.program import FFmpeg
from workers.source.probe import SourceLimits


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Step(_Frozen):
    source: Path
    """The uploaded file, under a name that the service chose."""
    work: Path
    """Folder of the step's other inputs, and of its outputs."""
    ffmpeg_path: Path | None
    """The ffmpeg program; None for the one that comes with the service."""

    def ffmpeg(self) -> FFmpeg:
        """The ffmpeg program."""
        return FFmpeg() if self.ffmpeg_path is None else FFmpeg(executable=self.ffmpeg_path)


class ProbeStep(_Step):
    """Find out what the source is, alone."""

    kind: Literal["probe"] = "probe"
    limits: SourceLimits


class _EncodingStep(_Step):
    settings: EncodingSettings


class _NetworkStep(_EncodingStep):
    device: str
    """Where networks run: auto, cpu, cuda or cuda:<n>."""


class PrepareStep(_NetworkStep):
    """All stages up to the plan of the networks."""

    kind: Literal["prepare"] = "prepare"
    limits: SourceLimits


class TrainStep(_NetworkStep):
    """Train one network."""

    kind: Literal["train"] = "train"
    network_number: Annotated[int, Field(ge=0)]


class FinishStep(_EncodingStep):
    """Export, assemble and measure the bundle."""

    kind: Literal["finish"] = "finish"
    bundle_id: str
    created_at: datetime


StepSpec = Annotated[ProbeStep | PrepareStep | TrainStep | FinishStep, Field(discriminator="kind")]
SPEC: TypeAdapter[StepSpec] = TypeAdapter(StepSpec)


class StepLine(_Frozen):
    """One line of JSON on a step's stdout: how far it is, that it is at work, or why the video can't be encoded."""

    progress: StageReport | None = None
    alive: Literal[True] | None = None
    """A sign of life, where work goes on that no figure shows."""
    failure: Failure | None = None


class PreparedNetworks(_Frozen):
    """How many networks there are to train: what a prepare step leaves for its task."""

    network_count: Annotated[int, Field(ge=1)]

    def save(self, work: Path) -> None:
        """Write to the work folder."""
        (work / _PREPARED_NAME).write_text(self.model_dump_json())

    @classmethod
    def load(cls, work: Path) -> Self:
        """Read what `save` wrote."""
        return cls.model_validate_json((work / _PREPARED_NAME).read_bytes())


_PREPARED_NAME = "prepared.json"

EXIT_FAILURE = 3
"""The step has said why the video or its settings can't work. Any other status but 0 blames the machinery."""
