"""What the service's HTTP API says: the resources that both the server and the client library read and write."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from stdo.bundle.manifest import Normalisation, Source

VideoState = Literal["uploaded", "ready", "refused"]
JobState = Literal["queued", "encoding", "planning", "training", "finishing", "succeeded", "failed", "cancelled"]
TERMINAL_JOB_STATES: frozenset[JobState] = frozenset({"succeeded", "failed", "cancelled"})
Stage = Literal["probe", "encode", "score", "group", "train", "export", "measure", "publish"]
ProgressUnit = Literal["frames", "steps", "files", "bytes"]

Item = TypeVar("Item")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class FieldError(_Frozen):
    """One thing that is wrong in a request."""

    field: str
    """Where, as a dotted path: `settings.training.steps`, `query.limit`, `header.range`."""
    message: str


class Problem(_Frozen):
    """An error over HTTP: RFC 9457 problem details."""

    type: str
    """Stable: `/problems/job-not-found`."""
    title: str
    status: int
    detail: str
    instance: str | None = None
    errors: tuple[FieldError, ...] = ()


class Failure(_Frozen):
    """Why a video was refused, or a job failed."""

    type: str
    """A stable word, such as `unsupported_codec`."""
    title: str
    detail: str
    """What happened, and what to do about it."""


class Video(_Frozen):
    """An uploaded video. A worker probes it at once."""

    id: str
    state: VideoState
    file_name: str
    byte_count: int
    sha256: str
    created_at: datetime
    source: Source | None = None
    """What the file really is, once it was probed."""
    input_normalisations: tuple[Normalisation, ...] = ()
    """What an encode would normalise."""
    refusal: Failure | None = None
    """Why it can't be encoded."""


class StageProgress(_Frozen):
    """How far the current stage is."""

    done: int
    total: int
    unit: ProgressUnit


class BundleSummary(_Frozen):
    """A published bundle."""

    manifest_url: str
    """Relative to the service's root; every file of the bundle lies beside the manifest."""
    bytes: dict[str, int]
    """base_stream, networks, patch_index, tables, manifest, total"""
    quality: dict[str, dict[str, float | None]]
    """restored, bicubic, lanczos, f0; each with psnr_y, psnr_rgb and more, in dB"""


class Job(_Frozen):
    """One encode of one video."""

    id: str
    video_id: str
    state: JobState
    stage: Stage | None
    progress: float
    """0 to 1 over the whole job; never goes back."""
    stage_progress: StageProgress | None
    eta_seconds: float | None
    speed: float | None
    """Units of the stage's progress per second."""
    preset: str
    settings: dict[str, Any]
    """Every encoding setting, resolved."""
    cancel_requested: bool
    failure: Failure | None
    stage_seconds: dict[str, float]
    """Seconds spent in each stage that has ended; training is the sum over the networks."""
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    bundle: BundleSummary | None


class JobEvent(_Frozen):
    """One line of a job's history. The stream of events repeats them in order."""

    id: int
    """Counts up within the job, from 1: the `Last-Event-ID` of the stream."""
    type: Literal["state", "progress"]
    at: datetime
    state: JobState
    stage: Stage | None
    progress: float
    stage_progress: StageProgress | None = None
    eta_seconds: float | None = None
    speed: float | None = None
    message: str | None = None


class Preset(_Frozen):
    """Encoding settings with a name."""

    name: str
    summary: str
    settings: dict[str, Any]


class Page(_Frozen, Generic[Item]):
    """Some rows of a listing, newest first."""

    items: tuple[Item, ...]
    next_cursor: str | None
    """Give it back as `cursor` for the next page; null on the last."""
