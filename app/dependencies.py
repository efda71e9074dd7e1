"""What routes ask for by type: the services, sessions, uploads, and the check of the API key."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import Annotated

from fastapi import Depends, Header, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from app.http import problems
from app.http.problems import ProblemError
from app.services import Services
from app.uploads.job_requests import check_early
from app.uploads.receive import Upload, receive_upload
from app.uploads.repeats import KeyedRequest
from core import api_keys
from core.callers import LOCAL_CALLER, Caller
from core.clock import utc_now
from core.errors import JobNotFoundError, VideoNotFoundError
from core.jobs import paging
from core.jobs.idempotency import LONGEST_KEY

IDENTIFIER_PATTERN = "^[0-9a-f]{32}$"
JOB_FIELDS = ("preset", "settings")
MAX_CURSOR_LENGTH = 200

_IDENTIFIER = re.compile(IDENTIFIER_PATTERN)

_bearer = HTTPBearer(
    scheme_name="ApiKey",
    description="An API key from `python -m app keys create`. Not needed in embedded mode on a loopback address.",
    auto_error=False,
)


def get_services(request: Request) -> Services:
    """The services of this process."""
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


ServicesDep = Annotated[Services, Depends(get_services)]


def authenticate(
    services: ServicesDep, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    """Who asks: the owner of a valid API key, or anyone where none is needed.

    Raises: ProblemError without a key, InvalidApiKeyError with a wrong one.
    """
    if not services.keys_required:
        return LOCAL_CALLER
    if credentials is None:
        raise ProblemError(
            problems.MISSING_API_KEY,
            "Send an API key as `Authorization: Bearer <key>`. `python -m app keys create` makes one.",
        )
    now = utc_now()
    with services.database.snapshot() as session:
        caller = api_keys.authenticate(session, credentials.credentials, now=now)
        last_used_is_old = bool(session.dirty)
    if last_used_is_old:
        with services.database.transaction() as session:
            api_keys.authenticate(session, credentials.credentials, now=now)
    return caller


# FastAPI asks once a request, however many depend on it.
CallerDep = Annotated[Caller, Depends(authenticate)]


def _transaction(services: ServicesDep) -> Iterator[Session]:
    with services.database.transaction() as session:
        yield session


def _snapshot(services: ServicesDep) -> Iterator[Session]:
    with services.database.snapshot() as session:
        yield session


# With FastAPI's default scope a dependency ends after the response was sent, and a caller could be told of a row whose
# commit then fails. Ending with the function, it commits before the response.
SessionDep = Annotated[Session, Depends(_transaction, scope="function")]
SnapshotDep = Annotated[Session, Depends(_snapshot, scope="function")]


def _keyed_request(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            pattern="^[ -~]+$",
            max_length=LONGEST_KEY,
            description="Any text that no other request of yours has, such as a UUID. Sent again with the same key "
            "and the same body within a day, the request gets the first answer and does nothing twice.",
        ),
    ] = None,
) -> KeyedRequest:
    return KeyedRequest(services=services, caller=caller, key=key, method=request.method, path=request.url.path)


KeyedRequestDep = Annotated[KeyedRequest, Depends(_keyed_request)]


# They ask for the key so that a malformed one is refused before the upload is read.
async def _video_upload(request: Request, services: ServicesDep, _: KeyedRequestDep) -> AsyncIterator[Upload]:
    async with receive_upload(request, services.settings) as upload:
        yield upload


async def _job_upload(request: Request, services: ServicesDep, _: KeyedRequestDep) -> AsyncIterator[Upload]:
    async with receive_upload(request, services.settings, field_names=JOB_FIELDS, check=check_early) as upload:
        yield upload


VideoUploadDep = Annotated[Upload, Depends(_video_upload, scope="function")]
JobUploadDep = Annotated[Upload, Depends(_job_upload, scope="function")]


def _video_id(
    video_id: Annotated[str, Path(description="The video's `id`.", examples=["9f0c2a4e6b8d4f1a8c3e5d7f90b1a2c3"])],
) -> str:
    if not _IDENTIFIER.fullmatch(video_id):
        raise VideoNotFoundError(video_id)
    return video_id


def _job_id(
    job_id: Annotated[str, Path(description="The job's `id`.", examples=["4b6d8f0a2c4e4a6b9d1f3e5c7a9b0d2e"])],
) -> str:
    if not _IDENTIFIER.fullmatch(job_id):
        raise JobNotFoundError(job_id)
    return job_id


# What can't be an identifier is never looked up: PostgreSQL refuses some texts, such as those with a NUL.
VideoId = Annotated[str, Depends(_video_id)]
JobId = Annotated[str, Depends(_job_id)]


class PageQuery(BaseModel):
    """Which page of a listing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int = Field(default=paging.DEFAULT_LIMIT, ge=1, le=paging.MAX_LIMIT, description="Rows a page.")
    cursor: str | None = Field(
        default=None, max_length=MAX_CURSOR_LENGTH, description="`next_cursor` of the page before."
    )
