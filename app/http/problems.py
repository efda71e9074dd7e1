"""Every error over HTTP as RFC 9457 problem details, each with a stable type."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from core.errors import ErrorCategory, ServiceError
from stdo.service.resources import FieldError, Problem

PROBLEM_MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ProblemType:
    """A kind of error that HTTP itself brings. What `core` can say is in `core.errors`."""

    slug: str
    title: str
    status: int


MALFORMED_REQUEST = ProblemType(slug="malformed-request", title="The request can't be read", status=400)
MALFORMED_JSON = ProblemType(slug="malformed-json", title="The body is not JSON", status=400)
MALFORMED_MULTIPART = ProblemType(slug="malformed-multipart", title="The body is not a multipart form", status=400)
MISSING_API_KEY = ProblemType(slug="missing-api-key", title="An API key is needed", status=401)
FOREIGN_ORIGIN = ProblemType(slug="foreign-origin", title="Only this machine is served", status=403)
NOT_FOUND = ProblemType(slug="not-found", title="No such resource", status=404)
NETWORK_NOT_FOUND = ProblemType(slug="network-not-found", title="No such general network", status=404)
METHOD_NOT_ALLOWED = ProblemType(slug="method-not-allowed", title="The resource has no such method", status=405)
UPLOAD_STALLED = ProblemType(slug="upload-stalled", title="The upload stood still", status=408)
CONTENT_TOO_LARGE = ProblemType(slug="content-too-large", title="The request is too large", status=413)
UNSUPPORTED_MEDIA_TYPE = ProblemType(
    slug="unsupported-media-type", title="The body has the wrong content type", status=415
)
RANGE_NOT_SATISFIABLE = ProblemType(slug="range-not-satisfiable", title="The range lies outside the file", status=416)
INVALID_REQUEST = ProblemType(slug="invalid-request", title="The request is not valid", status=422)
INTERNAL_ERROR = ProblemType(slug="internal-error", title="The service has a defect", status=500)
NOT_READY = ProblemType(slug="not-ready", title="The service is not ready", status=503)
STORAGE_FULL = ProblemType(slug="storage-full", title="There is no room for the upload", status=507)

PROBLEM_TYPES = (
    MALFORMED_REQUEST,
    MALFORMED_JSON,
    MALFORMED_MULTIPART,
    MISSING_API_KEY,
    FOREIGN_ORIGIN,
    NOT_FOUND,
    NETWORK_NOT_FOUND,
    METHOD_NOT_ALLOWED,
    UPLOAD_STALLED,
    CONTENT_TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    RANGE_NOT_SATISFIABLE,
    INVALID_REQUEST,
    INTERNAL_ERROR,
    NOT_READY,
    STORAGE_FULL,
)

STATUS_OF_CATEGORY: Mapping[ErrorCategory, int] = {
    ErrorCategory.INVALID: 422,
    ErrorCategory.UNAUTHENTICATED: 401,
    ErrorCategory.NOT_FOUND: 404,
    ErrorCategory.CONFLICT: 409,
    ErrorCategory.UNAVAILABLE: 503,
    ErrorCategory.INTERNAL: 500,
}

_HEADERS_OF_STATUS: Mapping[int, Mapping[str, str]] = {
    401: {"WWW-Authenticate": 'Bearer realm="stdo"'},
    503: {"Retry-After": str(RETRY_AFTER_SECONDS)},
}


class ProblemError(HTTPException):
    """An error of the request as HTTP sees it.

    An HTTPException, since FastAPI lets nothing else pass while it reads a body.
    """

    def __init__(
        self,
        kind: ProblemType,
        detail: str,
        *,
        errors: tuple[FieldError, ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(kind.status, detail, headers)
        self.kind = kind
        self.errors = errors


def invalid_field(field: str, message: str) -> ProblemError:
    """One field of the request is wrong."""
    return ProblemError(INVALID_REQUEST, f"{field}: {message}", errors=(FieldError(field=field, message=message),))


def problem_of(error: ProblemError | ServiceError, *, path: str | None = None) -> Problem:
    """The problem details of an error; `path` is that of the request."""
    if isinstance(error, ProblemError):
        kind = error.kind
    else:
        kind = ProblemType(slug=error.slug, title=error.title, status=STATUS_OF_CATEGORY[error.category])
    return Problem(
        type=f"/problems/{kind.slug}",
        title=kind.title,
        status=kind.status,
        detail=error.detail,
        instance=None if path is None else quote(path),
        errors=error.errors,
    )


def render(scope: Scope, error: ProblemError | ServiceError) -> Response:
    """The response that tells a caller of an error."""
    problem = problem_of(error, path=scope["path"])
    own_headers = (error.headers or {}) if isinstance(error, ProblemError) else {}
    return Response(
        # json.dumps escapes all that is not ASCII: a lone surrogate out of a caller's JSON could not be sent as UTF-8.
        json.dumps(problem.model_dump()),
        status_code=problem.status,
        media_type=PROBLEM_MEDIA_TYPE,
        headers={"Cache-Control": "no-store", **_HEADERS_OF_STATUS.get(problem.status, {}), **own_headers},
    )


def internal_error(scope: Scope, error: Exception) -> Response:
    """The answer to a defect of ours: what happened is in the log, under an id that the caller is told."""
    request_id = scope.get("state", {}).get("request_id", "unknown")
    log.error("unhandled error %s in %s %s", request_id, scope["method"], quote(scope["path"]), exc_info=error)
    detail = f"The service failed in an unforeseen way. Its log has the reason under the id {request_id}."
    return render(scope, ProblemError(INTERNAL_ERROR, detail))


def handle_service_error(request: Request, error: Exception) -> Response:
    """Answer a `core` error. What is wrong inside the service is logged, and not told to callers."""
    assert isinstance(error, ServiceError)
    if error.category is ErrorCategory.INTERNAL:
        return internal_error(request.scope, error)
    if error.category is ErrorCategory.UNAVAILABLE:
        log.warning("unavailable: %s", error.detail, exc_info=error.__cause__)
    return render(request.scope, error)
