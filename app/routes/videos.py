"""Uploaded videos."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field
from sqlalchemy.orm import Session

from app.dependencies import (
    CallerDep,
    KeyedRequestDep,
    PageQuery,
    ServicesDep,
    SessionDep,
    SnapshotDep,
    VideoId,
    VideoUploadDep,
)
from app.http.problems import CONTENT_TOO_LARGE, MALFORMED_JSON, UNSUPPORTED_MEDIA_TYPE, ProblemError
from app.http.representations import represent
from app.openapi import examples
from app.openapi.documentation import NOT_MODIFIED, answer, document
from app.openapi.shared_parts import (
    COMMON_PROBLEMS,
    INVALID_SETTING,
    REPEAT_PROBLEMS,
    UPLOAD_PROBLEMS,
    VIDEO_FORM,
    VIDEO_NOT_FOUND,
)
from app.uploads.job_requests import JobRequest, require_json, resolve
from app.uploads.repeats import Remember, form_body
from app.uploads.store import delete_objects, new_video
from core.callers import Caller
from core.clock import utc_now
from core.errors import MalformedCursorError, VideoInUseError, VideoRefusedError
from core.jobs import jobs, videos
from stdo.service.resources import Job, Page, Video, VideoState

PROBE_SECONDS = 1
"""An uploaded video is worth another look after so long."""

router = APIRouter(prefix="/videos", tags=["videos"], responses=COMMON_PROBLEMS)


class VideoQuery(PageQuery):
    """Which videos to list."""

    state: VideoState | None = Field(default=None, description="Only videos in this state.")


@router.post(
    "",
    status_code=201,
    summary="Upload a video",
    operation_id="create_video",
    response_model=Video,
    openapi_extra=VIDEO_FORM,
    responses={
        201: answer("Stored; a worker probes it at once.", headers=("Location",)),
        **document(*UPLOAD_PROBLEMS),
    },
)
def create_video(
    caller: CallerDep, keyed: KeyedRequestDep, upload: VideoUploadDep, services: ServicesDep, response: Response
) -> Video:
    """Stores a video, to be encoded later by `POST /v1/videos/{video_id}/jobs`, as often as you like."""

    def make(remember: Remember) -> Video:
        with new_video(services, caller, upload) as (session, row):
            remember(session, row.id)
            return videos.to_resource(row)

    video = keyed.once(form_body(upload), make=make, load=_load)
    response.headers["Location"] = f"/v1/videos/{video.id}"
    return video


@router.get(
    "",
    summary="List the videos",
    operation_id="list_videos",
    responses={
        200: answer("Some videos, newest first."),
        **document(MalformedCursorError()),
    },
)
def list_videos(caller: CallerDep, session: SnapshotDep, query: Annotated[VideoQuery, Query()]) -> Page[Video]:
    """Uploaded videos, newest first, in pages."""
    return videos.list_page(session, caller, state=query.state, cursor=query.cursor, limit=query.limit)


@router.get(
    "/{video_id}",
    summary="Get a video",
    operation_id="get_video",
    response_model=Video,
    responses={
        200: answer("The video.", headers=("ETag", "Cache-Control", "Retry-After")),
        304: dict(NOT_MODIFIED),
        **document(VIDEO_NOT_FOUND),
    },
)
def get_video(caller: CallerDep, video_id: VideoId, session: SnapshotDep, request: Request) -> Response:
    """What the file is and what an encode would normalise, once it was probed; or why it is refused."""
    video = _load(session, caller, video_id)
    return represent(request, video, retry_after_seconds=PROBE_SECONDS if video.state == "uploaded" else None)


def _load(session: Session, caller: Caller, video_id: str) -> Video:
    return videos.to_resource(videos.get(session, caller, video_id))


@router.delete(
    "/{video_id}",
    status_code=204,
    summary="Delete a video",
    operation_id="delete_video",
    responses=document(VIDEO_NOT_FOUND, VideoInUseError(examples.VIDEO_ID, (examples.JOB_ID,))),
)
def delete_video(caller: CallerDep, video_id: VideoId, session: SessionDep, services: ServicesDep) -> None:
    """Deletes the video, its jobs and their bundles. Refused while one of its jobs has not ended."""
    delete_objects(services, videos.remove(session, caller, video_id))


@router.post(
    "/{video_id}/jobs",
    status_code=202,
    summary="Encode a video",
    operation_id="create_job",
    dependencies=[Depends(require_json)],
    tags=["jobs"],
    responses={
        202: answer("Queued.", headers=("Location",)),
        **document(
            ProblemError(MALFORMED_JSON, "The body is not JSON: Expecting value, at character 0."),
            ProblemError(CONTENT_TOO_LARGE, "The body may have at most 1048576 bytes."),
            VIDEO_NOT_FOUND,
            VideoRefusedError(examples.VIDEO_ID, "The file has no video stream."),
            ProblemError(UNSUPPORTED_MEDIA_TYPE, "Send the body as application/json."),
            INVALID_SETTING,
            *REPEAT_PROBLEMS,
        ),
    },
)
def create_job(
    caller: CallerDep,
    keyed: KeyedRequestDep,
    video_id: VideoId,
    body: JobRequest,
    services: ServicesDep,
    response: Response,
) -> Job:
    """Starts an encode of an uploaded video. It need not have been probed yet."""
    settings = resolve(body.preset, body.settings)

    def make(remember: Remember) -> Job:
        with services.database.transaction() as session:
            row = jobs.create(session, caller, video_id=video_id, preset=body.preset, settings=settings, now=utc_now())
            remember(session, row.id)
            return jobs.to_resource(row, None)

    job = keyed.once(body.model_dump(mode="json"), make=make, load=jobs.get_resource)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job
