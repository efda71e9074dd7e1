"""Plausible values and short cuts for the tests of `core`: a source, a manifest, a job at some point of its life."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select

from core.callers import LOCAL_CALLER
from core.database import Database
from core.jobs import job_flow, job_states, jobs, leases, videos
from core.jobs.bundles import PublishedBundle
from core.jobs.claims import Claim, Heartbeat, Made, PartResult, Planned, Probed
from core.jobs.progress import StageReport
from core.presets import resolve_settings
from core.storage.keys import bundle_prefix
from core.tables import JobRow, PartKind, PartRow
from stdo.bundle.manifest import (
    BaseStream,
    Colour,
    FileEntry,
    Manifest,
    Network,
    PatchGrid,
    PatchIndex,
    Picture,
    PictureQuality,
    PrecisionLoss,
    Provenance,
    Quality,
    Rational,
    SegmentTable,
    Source,
    StreamHeader,
)
from stdo.service.resources import Failure

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LEASE = timedelta(seconds=60)
MAX_ATTEMPTS = 3
REFUSAL = Failure(type="unsupported_codec", title="The codec is not supported", detail="Convert it to H.264 first.")
CRASH = Failure(type="worker_crash", title="A worker crashed", detail="the part ended with signal 9")
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
        row = videos.create(
            session, LOCAL_CALLER, file_name=file_name, byte_count=1000, sha256="a" * 64, now=after(seconds)
        )
        return row.id


def probed_video(database: Database, *, seconds: float = 0) -> str:
    """The id of a video that was uploaded and probed."""
    video_id = new_video(database, seconds=seconds)
    succeed(database, claim(database, video_id, "probe", seconds=seconds), Probed(source=SOURCE), seconds=seconds)
    return video_id


def new_job(database: Database, *, video_id: str | None = None, seconds: float = 0, **overrides: Any) -> str:
    """The id of a job that was just created; of a video that was probed already, unless `video_id` says otherwise."""
    video_id = video_id or probed_video(database, seconds=seconds)
    settings = resolve_settings("fast", overrides)
    with database.transaction() as session:
        row = jobs.create(
            session, LOCAL_CALLER, video_id=video_id, preset="fast", settings=settings, now=after(seconds)
        )
        return row.id


def part_id_of(database: Database, owner: str, kind: PartKind, training_number: int | None = None) -> str:
    """The id of a part of a job, or of a video's newest probe."""
    with database.snapshot() as session:
        statement = select(PartRow.id).where(
            PartRow.kind == kind,
            PartRow.training_number.is_not_distinct_from(training_number),
            (PartRow.video_id if kind == "probe" else PartRow.job_id) == owner,
        )
        found = session.scalars(statement.order_by(PartRow.created_at.desc()).limit(1)).first()
        assert found is not None
        return found


def claim(
    database: Database, owner: str, kind: PartKind, training_number: int | None = None, *, seconds: float = 0
) -> Claim:
    """Take a part that is free for the taking."""
    part_id = part_id_of(database, owner, kind, training_number)
    with database.transaction() as session:
        held = job_states.claim(session, part_id, now=after(seconds), lease=LEASE)
    assert held is not None
    return held


def succeed(database: Database, held: Claim, result: PartResult, *, seconds: float = 0) -> None:
    """End a part well."""
    with database.transaction() as session:
        job_states.succeed(session, held, result, now=after(seconds))


def encoded_job(database: Database, *, seconds: float = 0, **overrides: Any) -> str:
    """The id of a job whose base stream was made."""
    job_id = new_job(database, seconds=seconds, **overrides)
    succeed(database, claim(database, job_id, "encode", seconds=seconds), Made(), seconds=seconds)
    return job_id


def training_job(database: Database, *, training_count: int = 2, seconds: float = 0) -> str:
    """The id of a job that was planned and whose trainings wait for somebody to carry them out."""
    job_id = encoded_job(database, seconds=seconds)
    held = claim(database, job_id, "plan", seconds=seconds)
    succeed(database, held, Planned(training_count=training_count), seconds=seconds)
    return job_id


def load_job(database: Database, job_id: str) -> JobRow:
    """The job's row as it is now."""
    with database.snapshot() as session:
        return jobs.get(session, LOCAL_CALLER, job_id)


def part_states(database: Database, job_id: str) -> dict[str, str]:
    """Each part's state, by kind and training."""
    with database.snapshot() as session:
        return {job_flow.describe(part): part.state for part in leases.parts_of_job(session, job_id)}


def load_part(database: Database, part_id: str) -> PartRow:
    """The part's row as it is now."""
    with database.snapshot() as session:
        return session.get_one(PartRow, part_id)


def beat(database: Database, held: Claim, seconds: float, report: StageReport | None = None) -> Heartbeat:
    """Send a sign of life."""
    with database.transaction() as session:
        return job_states.heartbeat(session, held, now=after(seconds), report=report)


def reap(database: Database, seconds: float, *, include_live: bool = False) -> int:
    """Take back what silent workers hold."""
    with database.transaction() as session:
        return job_states.reap(session, now=after(seconds), max_attempts=MAX_ATTEMPTS, include_live=include_live)


def fail(database: Database, held: Claim, *, infrastructure: bool, seconds: float = 1) -> None:
    """End a part badly."""
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
        job_states.cancel(session, LOCAL_CALLER, job_id, now=after(seconds))


def entry(path: str, byte_count: int) -> dict[str, Any]:
    """A file of a bundle."""
    return {"path": path, "byte_count": byte_count, "sha256": f"{byte_count:064x}"}


def sample_network(number: int) -> Network:
    """A network that was delivered as a file."""
    return Network(
        coding="onnx",
        file=FileEntry(**entry(f"networks/{number}.onnx", 100 + number)),
        channels="rgb",
        receptive_radius=4,
        difficulty_rank=number,
        architecture="espcn",
        precision="int8",
        parameter_count=20_000,
        multiply_accumulates_per_base_pixel=20_000.0,
    )


def sample_bundle(job_id: str, attempt: int = 1) -> PublishedBundle:
    """A published bundle with two networks."""
    picture_quality = PictureQuality(
        psnr_y=40.0, psnr_rgb=38.0, psnr_y_frame_mean=40.5, psnr_rgb_frame_mean=38.5, ssim_y=0.9, paper_psnr_rgb=39.0
    )
    manifest = Manifest(
        format="stdo-bundle",
        format_version="1.0",
        bundle_id=job_id,
        created_at=NOON,
        source=SOURCE,
        picture=Picture(
            scale=2,
            display_width=96,
            display_height=108,
            base_width=48,
            base_height=54,
            bit_depth=8,
            frame_count=2,
            average_frame_rate=RATE,
            variable_frame_rate=False,
            duration_seconds=0.08,
            colour=Colour(matrix="bt709", range="limited", primaries="bt709", transfer="bt709"),
        ),
        patch_grid=PatchGrid(patch_width=48, patch_height=54, columns=1, rows=1, halo=4),
        base_stream=BaseStream(
            **entry("base.mp4", 500),
            codec="h264",
            bit_depth=8,
            mime_type='video/mp4; codecs="avc1.64001E"',
            time_base=Rational(numerator=1, denominator=12_800),
            header=StreamHeader(byte_count=100, sha256="c" * 64),
            lossless=False,
            audio_codec=None,
        ),
        segments=SegmentTable(**entry("segments.bin", 100), segment_count=1),
        playlist=FileEntry(**entry("base.m3u8", 60)),
        networks=tuple(sample_network(number) for number in range(2)),
        patch_index=PatchIndex(**entry("index.bin", 7)),
        quality=Quality(
            bit_depth=8,
            frames_measured=2,
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
