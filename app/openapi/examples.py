"""What the OpenAPI document shows as answers: one for each operation and status, by the operation's id."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from core.presets import PRESETS, resolve_settings
from stdo.bundle.manifest import Rational, Source
from stdo.service.resources import Job, JobEvent, Page, Preset, StageProgress, Video

VIDEO_ID = "9f0c2a4e6b8d4f1a8c3e5d7f90b1a2c3"
JOB_ID = "4b6d8f0a2c4e4a6b9d1f3e5c7a9b0d2e"
SHA256 = "5c1f0f3e7a9b2d4c6e8f0a1b3c5d7e9f1a2b3c4d5e6f708192a3b4c5d6e7f809"

_AT = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
_PROGRESS: Mapping[str, Any] = {
    "state": "training",
    "stage": "train",
    "progress": 0.42,
    "stage_progress": StageProgress(done=830, total=2000, unit="steps"),
    "eta_seconds": 95.0,
    "speed": 17.5,
}

UPLOADED_VIDEO = Video(
    id=VIDEO_ID, state="uploaded", file_name="holiday.mp4", byte_count=7_340_032, sha256=SHA256, created_at=_AT
)
READY_VIDEO = UPLOADED_VIDEO.model_copy(
    update={
        "state": "ready",
        "source": Source(
            sha256=SHA256,
            byte_count=7_340_032,
            container="mov,mp4,m4a,3gp,3g2,mj2",
            video_codec="h264",
            pixel_format="yuv420p",
            coded_width=1280,
            coded_height=720,
            rotation_degrees=0,
            frame_count=150,
            duration_seconds=5.0,
            average_frame_rate=Rational(numerator=30, denominator=1),
            variable_frame_rate=False,
            audio_codec="aac",
        ),
    }
)
QUEUED_JOB = Job(
    id=JOB_ID,
    video_id=VIDEO_ID,
    state="queued",
    stage=None,
    progress=0.0,
    stage_progress=None,
    eta_seconds=None,
    speed=None,
    preset="fast",
    settings=resolve_settings("fast", {"training": {"steps": 2000}}).model_dump(mode="json"),
    cancel_requested=False,
    failure=None,
    stage_seconds={},
    created_at=_AT,
    started_at=None,
    finished_at=None,
    bundle=None,
)
TRAINING_JOB = QUEUED_JOB.model_copy(
    update={**_PROGRESS, "stage_seconds": {"probe": 0.9, "encode": 3.1, "score": 6.4, "group": 0.2}, "started_at": _AT}
)
# Not inside the table below: there pydantic fails to read the docstrings of a class that is made on the way.
PAGE_OF_JOBS = Page[Job](items=(TRAINING_JOB,), next_cursor=None)
PAGE_OF_VIDEOS = Page[Video](items=(READY_VIDEO,), next_cursor="WyIyMDI2LTExLTIyVDEyOjAwOjAwKzAwOjAwIl0")
PAGE_OF_PRESETS = Page[Preset](items=(Preset(**PRESETS[0].model_dump(mode="json")),), next_cursor=None)
PROGRESS_EVENT = JobEvent(id=17, type="progress", at=_AT, **_PROGRESS)

RESPONSES: Mapping[tuple[str, int], BaseModel | Mapping[str, Any]] = {
    ("get_liveness", 200): {"status": "alive"},
    ("get_readiness", 200): {"status": "ready"},
    ("create_job_with_video", 202): QUEUED_JOB,
    ("list_jobs", 200): PAGE_OF_JOBS,
    ("get_job", 200): TRAINING_JOB,
    ("cancel_job", 202): TRAINING_JOB.model_copy(update={"cancel_requested": True}),
    ("create_video", 201): UPLOADED_VIDEO,
    ("list_videos", 200): PAGE_OF_VIDEOS,
    ("get_video", 200): READY_VIDEO,
    ("create_job", 202): QUEUED_JOB,
    ("list_presets", 200): PAGE_OF_PRESETS,
    ("list_networks", 200): {
        "items": [{"sha256": SHA256, "architecture": "espcn", "scale": 2, "channels": "rgb", "byte_count": 47_104}],
        "next_cursor": None,
    },
}
