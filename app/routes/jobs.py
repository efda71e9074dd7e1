"""Encodes: start, follow, cancel, delete."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent, format_sse_event
from pydantic import Field

from app.dependencies import (
    IDENTIFIER_PATTERN,
    CallerDep,
    JobId,
    JobUploadDep,
    KeyedRequestDep,
    PageQuery,
    ServicesDep,
    SessionDep,
    SnapshotDep,
)
from app.http import event_stream
from app.http.error_handlers import NothingMoreError
from app.http.representations import represent
from app.openapi import examples
from app.openapi.documentation import NOT_MODIFIED, answer, document
from app.openapi.shared_parts import COMMON_PROBLEMS, INVALID_SETTING, JOB_FORM, JOB_NOT_FOUND, UPLOAD_PROBLEMS
from app.uploads.job_requests import request_from_form, resolve
from app.uploads.repeats import Remember, form_body
from app.uploads.store import delete_objects, new_video
from core.clock import utc_now
from core.errors import JobActiveError, JobFinishedError, MalformedCursorError
from core.jobs import job_states, jobs
from stdo.service.resources import TERMINAL_JOB_STATES, Job, JobState, Page

POLL_SECONDS = 2
"""How often it is worth polling a job that has not ended."""

MAX_EVENT_ID = 2**31 - 1

router = APIRouter(prefix="/jobs", tags=["jobs"], responses=COMMON_PROBLEMS)


class JobQuery(PageQuery):
    """Which jobs to list."""

    state: JobState | None = Field(default=None, description="Only jobs in this state.")
    video_id: str | None = Field(default=None, pattern=IDENTIFIER_PATTERN, description="Only jobs of this video.")


@router.post(
    "",
    status_code=202,
    summary="Upload a video and encode it",
    operation_id="create_job_with_video",
    openapi_extra=JOB_FORM,
    responses={
        202: answer("Queued.", headers=("Location",)),
        **document(*UPLOAD_PROBLEMS, INVALID_SETTING),
    },
)
def create_job_with_video(
    caller: CallerDep, keyed: KeyedRequestDep, upload: JobUploadDep, services: ServicesDep, response: Response
) -> Job:
    """Stores a video and starts an encode of it. The video can be encoded again later, under its `video_id`."""
    asked = request_from_form(upload.fields)
    settings = resolve(asked.preset, asked.settings)

    def make(remember: Remember) -> Job:
        with new_video(services, caller, upload) as (session, video):
            row = jobs.create(session, caller, video_id=video.id, preset=asked.preset, settings=settings, now=utc_now())
            remember(session, row.id)
            return jobs.to_resource(row, None)

    job = keyed.once(form_body(upload), make=make, load=jobs.get_resource)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job


@router.get(
    "",
    summary="List the jobs",
    operation_id="list_jobs",
    responses={
        200: answer("Some jobs, newest first."),
        **document(MalformedCursorError()),
    },
)
def list_jobs(caller: CallerDep, session: SnapshotDep, query: Annotated[JobQuery, Query()]) -> Page[Job]:
    """Jobs, newest first, in pages."""
    return jobs.list_page(
        session, caller, state=query.state, video_id=query.video_id, cursor=query.cursor, limit=query.limit
    )


@router.get(
    "/{job_id}",
    summary="Get a job",
    operation_id="get_job",
    response_model=Job,
    responses={
        200: answer("The job.", headers=("ETag", "Cache-Control", "Retry-After")),
        304: dict(NOT_MODIFIED),
        **document(JOB_NOT_FOUND),
    },
)
def get_job(caller: CallerDep, job_id: JobId, session: SnapshotDep, request: Request) -> Response:
    """State, stage, and progress that never goes back; the bundle once the job has succeeded."""
    job = jobs.get_resource(session, caller, job_id)
    return represent(request, job, retry_after_seconds=None if job.state in TERMINAL_JOB_STATES else POLL_SECONDS)


def _first_event_wanted(
    caller: CallerDep,
    job_id: JobId,
    services: ServicesDep,
    last_event_id: Annotated[
        int,
        Header(
            alias="Last-Event-ID",
            ge=0,
            le=MAX_EVENT_ID,
            description="The last event that the caller has; events follow it.",
        ),
    ] = 0,
) -> int:
    """After which event to start. Raises JobNotFoundError, or NothingMoreError where the caller has them all."""
    with services.database.snapshot() as session:
        jobs.get(session, caller, job_id)
    batch, ended = event_stream.events_after(services.database, caller, job_id, last_event_id)
    if ended and not batch:
        raise NothingMoreError
    return last_event_id


@router.get(
    "/{job_id}/events",
    summary="Follow a job",
    operation_id="stream_job_events",
    response_class=EventSourceResponse,
    responses={
        200: {
            "description": "Events, each with a JobEvent as its data.",
            "content": {
                EventSourceResponse.media_type: {
                    "example": format_sse_event(
                        event=examples.PROGRESS_EVENT.type,
                        data_str=examples.PROGRESS_EVENT.model_dump_json(),
                        id=str(examples.PROGRESS_EVENT.id),
                    ).decode(),
                }
            },
        },
        204: {"description": "The caller has every event of a job that has ended. Browsers then stop reconnecting."},
        **document(JOB_NOT_FOUND),
    },
)
async def stream_job_events(
    caller: CallerDep, job_id: JobId, services: ServicesDep, after: Annotated[int, Depends(_first_event_wanted)]
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: the whole history of the job, then what happens, up to the event that ends it.

    Each has an `id`, an `event` (`state` or `progress`) and a JobEvent as `data`. Send the last id as `Last-Event-ID`
    to go on after a broken connection, as browsers do by themselves. Comments keep idle connections alive.
    """
    async for event in event_stream.follow(services.database, caller, job_id, after=after):
        yield event


@router.post(
    "/{job_id}/cancel",
    status_code=202,
    summary="Cancel a job",
    operation_id="cancel_job",
    responses={
        202: answer("Cancelled, or about to be: its workers stop within seconds."),
        **document(JOB_NOT_FOUND, JobFinishedError(examples.JOB_ID, "succeeded")),
    },
)
def cancel_job(caller: CallerDep, job_id: JobId, session: SessionDep) -> Job:
    """Stops the work on a job. Asking again changes nothing; a job that has ended can't be cancelled."""
    return jobs.to_resource(job_states.cancel(session, caller, job_id, now=utc_now()), None)


@router.delete(
    "/{job_id}",
    status_code=204,
    summary="Delete a job",
    operation_id="delete_job",
    responses=document(JOB_NOT_FOUND, JobActiveError(examples.JOB_ID, "training")),
)
def delete_job(caller: CallerDep, job_id: JobId, session: SessionDep, services: ServicesDep) -> None:
    """Deletes a job that has ended, and its bundle. The video stays."""
    delete_objects(services, jobs.remove(session, caller, job_id))
