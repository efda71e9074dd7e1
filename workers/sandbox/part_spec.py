"""What a worker and the part that it runs (a child process) say to each other.

The worker writes a spec file. The part answers with lines on its stdout, and leaves its outputs in the work folder.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from core.encoding_settings import EncodingSettings
from core.jobs.progress import StageReport
from stdo.service.resources import Failure
from workers.ffmpeg.program import FFmpeg
from workers.source.probe import SourceLimits


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Part(_Frozen):
    source: Path
    """The uploaded file, under a name that the service chose."""
    work: Path
    """Folder of the part's other inputs, and of its outputs (workers.work_folder)."""
    ffmpeg_path: Path | None
    """The ffmpeg program; None for the one that comes with the service."""

    def ffmpeg(self) -> FFmpeg:
        """The ffmpeg program."""
        return FFmpeg() if self.ffmpeg_path is None else FFmpeg(executable=self.ffmpeg_path)


class ProbePart(_Part):
    """Find out what the source is."""

    kind: Literal["probe"] = "probe"
    limits: SourceLimits
    source_sha256: str
    """As the upload was received: it need not be read once more for it."""


class _EncodingPart(_Part):
    settings: EncodingSettings


class EncodePart(_EncodingPart):
    """Make the base stream."""

    kind: Literal["encode"] = "encode"


class _NetworkPart(_EncodingPart):
    device: str
    """Where networks run: auto, cpu, cuda or cuda:<n>."""


class PlanPart(_NetworkPart):
    """Score and group the patches. Leaves a PlannedTrainings besides its outputs."""

    kind: Literal["plan"] = "plan"


class TrainPart(_NetworkPart):
    """Carry out one training."""

    kind: Literal["train"] = "train"
    training_number: Annotated[int, Field(ge=0)]


class FinishPart(_NetworkPart):
    """Export, assemble and measure the bundle."""

    kind: Literal["finish"] = "finish"
    bundle_id: str
    created_at: datetime


PartSpec = Annotated[ProbePart | EncodePart | PlanPart | TrainPart | FinishPart, Field(discriminator="kind")]
SPEC: TypeAdapter[PartSpec] = TypeAdapter(PartSpec)


class PartLine(_Frozen):
    """One line of JSON on a part's stdout: how far it is, that it is at work, or why the video can't be encoded."""

    progress: StageReport | None = None
    alive: Literal[True] | None = None
    """A sign of life, where work goes on that no figure shows."""
    failure: Failure | None = None


class PlannedTrainings(_Frozen):
    """How many trainings a plan has: what its part leaves for the worker."""

    training_count: Annotated[int, Field(ge=0, le=255)]

    def save(self, work: Path) -> None:
        """Write to the work folder."""
        (work / _PLANNED_NAME).write_text(self.model_dump_json())

    @classmethod
    def load(cls, work: Path) -> Self:
        """Read what `save` wrote. Raises OSError, pydantic.ValidationError."""
        return cls.model_validate_json((work / _PLANNED_NAME).read_bytes())


_PLANNED_NAME = "trainings.json"

EXIT_FAILURE = 3
"""The part has said why the video or its settings can't work. Any other status but 0 blames the machinery."""
