"""What can go wrong for a caller of the service: one named class a case, each with a message that says what to do.

The classes know nothing of HTTP. `slug` names the problem for good (`/problems/<slug>`), `category` says what sort of
problem it is, and the API turns that into a status.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from stdo.service.resources import FieldError


class ErrorCategory(StrEnum):
    """What sort of problem it is, for whoever answers the caller."""

    INVALID = "invalid"
    """The request can never work as it stands."""
    UNAUTHENTICATED = "unauthenticated"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    """The request does not fit the present state of what it names."""
    UNAVAILABLE = "unavailable"
    """A part of the service does not answer; the same request may work later."""
    INTERNAL = "internal"


class ServiceError(Exception):
    """Base of all errors that a caller of the service may see."""

    slug: ClassVar[str]
    title: ClassVar[str]
    category: ClassVar[ErrorCategory]

    def __init__(self, detail: str, *, errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        """What happened, and what to do about it."""
        self.errors = errors
        """Which fields of the request are wrong."""


class SettingsError(ServiceError):
    """The service's own settings are missing or wrong."""

    slug = "settings"
    title = "The service is not set up"
    category = ErrorCategory.INTERNAL


class VideoNotFoundError(ServiceError):
    slug = "video-not-found"
    title = "No such video"
    category = ErrorCategory.NOT_FOUND

    def __init__(self, video_id: str) -> None:
        super().__init__(f"There is no video {video_id!r}. GET /v1/videos lists those that exist.")


class JobNotFoundError(ServiceError):
    slug = "job-not-found"
    title = "No such job"
    category = ErrorCategory.NOT_FOUND

    def __init__(self, job_id: str) -> None:
        super().__init__(f"There is no job {job_id!r}. GET /v1/jobs lists those that exist.")


class ApiKeyNotFoundError(ServiceError):
    slug = "api-key-not-found"
    title = "No such API key"
    category = ErrorCategory.NOT_FOUND

    def __init__(self, key_id: str) -> None:
        super().__init__(f"There is no API key {key_id!r}. `python -m app keys list` shows those that exist.")


class BundleNotReadyError(ServiceError):
    slug = "bundle-not-ready"
    title = "The job has no bundle"
    category = ErrorCategory.CONFLICT

    def __init__(self, job_id: str, state: str) -> None:
        super().__init__(f"Job {job_id} is {state}: its bundle exists once the job has succeeded.")


class BundleFileNotFoundError(ServiceError):
    slug = "bundle-file-not-found"
    title = "No such file in the bundle"
    category = ErrorCategory.NOT_FOUND

    def __init__(self, path: str) -> None:
        super().__init__(f"The bundle has no file {path!r}. Its manifest.json names every file.")


class ConflictError(ServiceError):
    """Base of what does not fit the present state of a video or a job."""

    category = ErrorCategory.CONFLICT


class VideoRefusedError(ConflictError):
    slug = "video-refused"
    title = "The video can't be encoded"

    def __init__(self, video_id: str, reason: str) -> None:
        super().__init__(f"Video {video_id} was refused: {reason}")


class VideoInUseError(ConflictError):
    slug = "video-in-use"
    title = "The video has unfinished jobs"

    def __init__(self, video_id: str, job_ids: tuple[str, ...]) -> None:
        super().__init__(
            f"Video {video_id} is being encoded by {', '.join(job_ids)}. Cancel these jobs, or wait for them, first."
        )


class JobFinishedError(ConflictError):
    slug = "job-finished"
    title = "The job has already ended"

    def __init__(self, job_id: str, state: str) -> None:
        super().__init__(f"Job {job_id} is {state} and can't be cancelled any more.")


class JobActiveError(ConflictError):
    slug = "job-active"
    title = "The job has not ended"

    def __init__(self, job_id: str, state: str) -> None:
        super().__init__(f"Job {job_id} is {state}. Cancel it, or wait for its end, before deleting it.")


class MalformedCursorError(ServiceError):
    slug = "malformed-cursor"
    title = "The cursor is not one of ours"
    category = ErrorCategory.INVALID

    def __init__(self) -> None:
        message = "Use next_cursor of an earlier page as it was given, or leave cursor out to start with the newest."
        super().__init__(message, errors=(FieldError(field="query.cursor", message=message),))


class IdempotencyKeyReusedError(ServiceError):
    slug = "idempotency-key-reused"
    title = "The Idempotency-Key belongs to another request"
    category = ErrorCategory.INVALID

    def __init__(self, key: str) -> None:
        message = f"An earlier request with the key {key!r} asked for something else. Use a new key for a new request."
        super().__init__(message, errors=(FieldError(field="header.Idempotency-Key", message=message),))


class RequestAnsweredMeanwhileError(ConflictError):
    """The slower one of two requests with one Idempotency-Key that ran at the same time. It changed nothing."""

    slug = "request-answered-meanwhile"
    title = "The same request was answered meanwhile"

    def __init__(self, key: str) -> None:
        super().__init__(f"Another request with the key {key!r} was answered meanwhile. Send this one again.")


class InvalidApiKeyError(ServiceError):
    slug = "invalid-api-key"
    title = "The API key is not valid"
    category = ErrorCategory.UNAUTHENTICATED

    def __init__(self) -> None:
        super().__init__("The API key is unknown or was revoked. `python -m app keys create` makes a new one.")


class ObjectNotFoundError(ServiceError):
    slug = "object-not-found"
    title = "A stored file is missing"
    category = ErrorCategory.INTERNAL

    def __init__(self, key: str) -> None:
        super().__init__(f"The object store has nothing under {key!r}.")


class InvalidObjectKeyError(ServiceError):
    slug = "invalid-object-key"
    title = "Not a key of the object store"
    category = ErrorCategory.INTERNAL

    def __init__(self, key: str) -> None:
        super().__init__(
            f"{key!r} is not a plain relative path: words of letters, digits, '.', '_' and '-' with '/' between."
        )


class ObjectStoreUnavailableError(ServiceError):
    slug = "object-store-unavailable"
    title = "The object store does not answer"
    category = ErrorCategory.UNAVAILABLE


class BrokerUnavailableError(ServiceError):
    slug = "broker-unavailable"
    title = "The message broker does not answer"
    category = ErrorCategory.UNAVAILABLE


class DatabaseUnavailableError(ServiceError):
    slug = "database-unavailable"
    title = "The database does not answer"
    category = ErrorCategory.UNAVAILABLE


class LeaseLostError(ServiceError):
    """The part belongs to somebody else by now: whatever this worker still writes is refused."""

    slug = "lease-lost"
    title = "The part was taken back"
    category = ErrorCategory.CONFLICT

    def __init__(self, part_id: str) -> None:
        super().__init__(
            f"Part {part_id} is no longer held under this lease. Stop working on it; nothing was recorded."
        )
