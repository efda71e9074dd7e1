"""The files of finished jobs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from app.dependencies import CallerDep, JobId, ServicesDep, SnapshotDep
from app.http import problems
from app.http.preconditions import ByteRange, RangeNotSatisfiableError, is_not_modified, requested_range
from app.http.problems import ProblemError
from app.openapi.common_problems import COMMON_PROBLEMS, JOB_NOT_FOUND
from app.openapi.documentation import NOT_MODIFIED, describe_headers, document
from app.openapi.examples import JOB_ID
from app.services import Services
from core.errors import BundleFileNotFoundError, BundleNotReadyError
from core.jobs import bundles
from core.jobs.bundles import BundleFile
from core.storage.stored_objects import content_type_of
from stdo.bundle.manifest_reader import MANIFEST_NAME

IMMUTABLE = "private, max-age=31536000, immutable"
"""A published bundle never changes."""

RANGE_EXAMPLE = ProblemError(problems.RANGE_NOT_SATISFIABLE, "The file has 310000 bytes.")
BINARY = {"schema": {"type": "string", "format": "binary"}}
BINARY_CONTENT = {"video/mp4": BINARY, "image/png": BINARY, "application/octet-stream": BINARY}

router = APIRouter(prefix="/jobs", tags=["bundles"], responses=COMMON_PROBLEMS)


@router.get(
    "/{job_id}/bundle/{path:path}",
    summary="Get a file of a job's bundle",
    operation_id="get_bundle_file",
    response_class=Response,
    responses={
        200: {
            "description": "The file. `ETag` is its SHA-256.",
            "headers": describe_headers("ETag", "Cache-Control"),
            "content": {"application/json": {"schema": {"type": "object"}}, **BINARY_CONTENT},
        },
        206: {
            "description": "The part that `Range` names.",
            "content": {"application/json": {**BINARY, "example": '{"format": "stdo-'}, **BINARY_CONTENT},
            "headers": describe_headers("Content-Range", "ETag", "Cache-Control"),
        },
        304: dict(NOT_MODIFIED),
        307: {
            "description": "The file lies at `Location` for some minutes. Only where the store is S3.",
            "headers": describe_headers("Location", "Cache-Control"),
        },
        **document(
            JOB_NOT_FOUND,
            BundleFileNotFoundError("networks/9.onnx"),
            BundleNotReadyError(JOB_ID, "training"),
            RANGE_EXAMPLE,
        ),
    },
)
def get_bundle_file(
    job_id: JobId,
    path: Annotated[str, Path(description="As in the manifest.", examples=[MANIFEST_NAME, "base.mp4"])],
    caller: CallerDep,
    session: SnapshotDep,
    services: ServicesDep,
    request: Request,
) -> Response:
    """`manifest.json`, or a file that it names. Single byte ranges work; the files never change."""
    file = bundles.find_file(session, caller, job_id, path)
    etag = f'"{file.sha256}"'
    headers = {"ETag": etag, "Cache-Control": IMMUTABLE, "Accept-Ranges": "bytes"}
    if is_not_modified(request.headers, etag):
        return Response(status_code=304, headers=headers)
    is_head = request.state.method == "HEAD"
    if path != MANIFEST_NAME and not is_head and (redirect := _redirect(services, file)) is not None:
        return redirect
    try:
        # RFC 9110, section 14.2: a range is for GET alone.
        part = None if is_head else requested_range(request.headers, etag, file.byte_count)
    except RangeNotSatisfiableError:
        raise ProblemError(
            problems.RANGE_NOT_SATISFIABLE,
            f"The file has {file.byte_count} bytes.",
            headers={"Content-Range": f"bytes */{file.byte_count}"},
        ) from None
    if part is not None:
        headers["Content-Range"] = f"bytes {part.first}-{part.last}/{file.byte_count}"
    wanted = part or ByteRange(first=0, last=file.byte_count - 1)
    return StreamingResponse(
        () if is_head or not wanted.byte_count else services.store.read_range(file.key, wanted.first, wanted.last),
        status_code=200 if part is None else 206,
        media_type=content_type_of(file.key),
        headers={**headers, "Content-Length": str(wanted.byte_count)},
    )


def _redirect(services: Services, file: BundleFile) -> Response | None:
    """The way to a store that serves the file itself. A signed address is for GET alone."""
    seconds = services.settings.presigned_url_seconds
    url = services.store.presigned_url(file.key, expires_seconds=seconds)
    if url is None:
        return None
    # Used from a cache, the address has to live for a while yet.
    return RedirectResponse(url, status_code=307, headers={"Cache-Control": f"private, max-age={seconds // 2}"})
