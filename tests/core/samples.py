"""Plausible values and short cuts for the tests of `core`: a source, a manifest, a job at some point of its life."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select

from core.database import Database
from core.jobs import job_states, jobs, leases, videos
from core.jobs.bundles import PublishedBundle, bundle_prefix
from core.jobs.claims import Claim, Heartbeat, Prepared, Result
from core.jobs.progress import StageReport
from core.presets import resolve_settings
from core.tables import JobRow, TaskKind, TaskRow
from stdo.bundle.manifest import (
    BaseStream,
    Colour,
    FileEntry,
    Manifest,
    Network,
    PatchGrid,
    PatchIndex,
    PatchIndexSegment,
    Picture,
    PictureQuality,
    PrecisionLoss,
    Provenance,
    Quality,
    Rational,
    Source,
)
from stdo.service.resources import Failure

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LEASE = timedelta(seconds=60)
MAX_ATTEMPTS = 3
REFUSAL = Failure(type="unsupported_codec", title="The codec is not supported", detail="Convert it to H.264 first.")
CRASH = Failure(type="worker_crash", title="A worker crashed", detail="the step ended with signal 9")
RATE = Rational(numerator=25, denominator=1)
SOURCE = Source(
    sha256="a" * 64,
    byte_count=1000,
    container="mov,mp4",
    video_codec="h264",
    pixel_format="yuv420p",
    coded_width=96,
    coded_height=108,
    rotation_degrees=0,
    frame_count=2,
    duration_seconds=0.08,
    average_frame_rate=RATE,
    variable_frame_rate=False,
    audio_codec=None,
)


def after(seconds: float) -> datetime:
    """So many seconds past noon."""
    return NOON + timedelta(seconds=seconds)


def new_video(database: Database, *, seconds: float = 0, file_name: str = "holiday.mp4") -> str:
    """The id of a video that was just uploaded."""
    with database.transaction() as session:
        return videos.create(session, file_name=file_name, byte_count=1000, sha256="a" * 64, now=after(seconds)).id


def new_job(database: Database, *, video_id: str | None = None, seconds: float = 0, **overrides: Any) -> str:
    """The id of a job that was just created."""
    video_id = video_id or new_video(database, seconds=seconds)
    settings = resolve_settings("fast", overrides)
    with database.transaction() as session:
        return jobs.create(session, video_id=video_id, preset="fast", settings=settings, now=after(seconds)).id


def task_id_of(database: Database, owner: str, kind: TaskKind, network_number: int | None = None) -> str:
    """The id of a task of a job, or of a video's probe."""
    with database.snapshot() as session:
        statement = select(TaskRow.id).where(
            TaskRow.kind == kind,
            TaskRow.network_number == network_number
            if network_number is not None
            else TaskRow.network_number.is_(None),
            (TaskRow.video_id if kind == "probe_video" else TaskRow.job_id) == owner,
        )
        return session.scalars(statement).one()


def claim(
    database: Database, owner: str, kind: TaskKind, network_number: int | None = None, *, seconds: float = 0
) -> Claim:
    """Take a task that is free for the taking."""
    task_id = task_id_of(database, owner, kind, network_number)
    with database.transaction() as session:
        held = job_states.claim(session, task_id, now=after(seconds), lease=LEASE)
    assert held is not None
    return held


def succeed(database: Database, held: Claim, result: Result, *, seconds: float = 0) -> None:
    """End a task well."""
    with database.transaction() as session:
        job_states.succeed(session, held, result, now=after(seconds))


def training_job(database: Database, *, network_count: int = 2, seconds: float = 0) -> str:
    """The id of a job that was prepared and whose networks wait for somebody to train them."""
    job_id = new_job(database, seconds=seconds)
    succeed(
        database,
        claim(database, job_id, "prepare_job", seconds=seconds),
        Prepared(network_count=network_count),
        seconds=seconds,
    )
    return job_id


def load_job(database: Database, job_id: str) -> JobRow:
    """The job's row as it is now."""
    with database.snapshot() as session:
        return jobs.get(session, job_id)


def task_states(database: Database, job_id: str) -> dict[str, str]:
    """Each task's state, by kind and network."""
    with database.snapshot() as session:
        return {
            task.kind if task.network_number is None else f"{task.kind} {task.network_number}": task.state
            for task in leases.tasks_of_job(session, job_id)
        }


def load_task(database: Database, task_id: str) -> TaskRow:
    """The task's row as it is now."""
    with database.snapshot() as session:
        task = session.get(TaskRow, task_id)
        assert task is not None
        return task


def beat(database: Database, held: Claim, seconds: float, report: StageReport | None = None) -> Heartbeat:
    """Send a sign of life."""
    with database.transaction() as session:
        return job_states.heartbeat(session, held, now=after(seconds), report=report)


def reap(database: Database, seconds: float, *, include_live: bool = False) -> int:
    """Take back what silent workers hold."""
    with database.transaction() as session:
        return job_states.reap(session, now=after(seconds), max_attempts=MAX_ATTEMPTS, include_live=include_live)


def fail(database: Database, held: Claim, *, infrastructure: bool, seconds: float = 1) -> None:
    """End a task badly."""
    with database.transaction() as session:
        job_states.fail(
            session,
            held,
            CRASH if infrastructure else REFUSAL,
            now=after(seconds),
            infrastructure=infrastructure,
            max_attempts=MAX_ATTEMPTS,
        )


def cancel(database: Database, job_id: str, seconds: float = 1) -> None:
    """Ask for the end of a job."""
    with database.transaction() as session:
        job_states.cancel(session, job_id, now=after(seconds))


def entry(path: str, byte_count: int) -> dict[str, Any]:
    """A file of a bundle."""
    return {"path": path, "byte_count": byte_count, "sha256": f"{byte_count:064x}"}


def sample_bundle(job_id: str, attempt: int = 1) -> PublishedBundle:
    """A published bundle with two networks."""
    picture_quality = PictureQuality(
        psnr_y=40.0, psnr_rgb=38.0, psnr_y_frame_mean=40.5, psnr_rgb_frame_mean=38.5, ssim_y=0.9, paper_psnr_rgb=39.0
    )
    network = {
        "architecture": "espcn",
        "channels": "rgb",
        "precision": "int8",
        "parameter_count": 20_000,
        "multiply_accumulates_per_base_pixel": 20_000.0,
    }
    manifest = Manifest(
        bundle_id=job_id,
        created_at=NOON,
        source=SOURCE,
        picture=Picture(
            scale=2,
            display_width=96,
            display_height=108,
            base_width=48,
            base_height=54,
            frame_count=2,
            average_frame_rate=RATE,
            variable_frame_rate=False,
            duration_seconds=0.08,
            colour=Colour(matrix="bt709", range="limited", primaries="bt709", transfer="bt709"),
        ),
        patch_grid=PatchGrid(patch_width=48, patch_height=54, columns=1, rows=1, halo=4),
        base_stream=BaseStream(**entry("base.mp4", 500), codec="h264", lossless=False, audio_codec=None),
        networks=tuple(Network(**entry(f"networks/{index}.onnx", 100 + index), **network) for index in range(2)),
        patch_index=PatchIndex(
            segments=(PatchIndexSegment(**entry("patch_index/00000.bin", 7), first_frame=0, frame_count=2),)
        ),
        quality=Quality(
            restored=picture_quality,
            bicubic=picture_quality.model_copy(update={"psnr_y": 30.0}),
            lanczos=picture_quality.model_copy(update={"psnr_y": None}),
            f0=picture_quality,
            precision_loss=PrecisionLoss(psnr_y_db=0.01, psnr_rgb_db=0.01, frames_measured=2),
            files=(FileEntry(**entry("quality/report.json", 9000)),),
        ),
        provenance=Provenance(method="stdo", settings={}, software={}, device="cpu"),
    )
    return PublishedBundle(
        prefix=bundle_prefix(job_id, attempt),
        manifest=manifest,
        manifest_file=FileEntry(**entry("manifest.json", 2000)),
    )
