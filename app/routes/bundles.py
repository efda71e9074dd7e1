"""The files of finished jobs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import RedirectResponse, Response

from app.dependencies import CallerDep, JobId, ServicesDep, SnapshotDep
from app.http.representations import (
    FOR_EVERYONE_FOREVER,
    FOR_ITS_OWNER_FOREVER,
    RangedFile,
    is_not_modified,
    not_modified,
)
from app.openapi.documentation import answer, document
from app.openapi.examples import JOB_ID
from app.openapi.shared_parts import COMMON_PROBLEMS, JOB_NOT_FOUND, file_responses
from app.services import Services
from core.errors import BundleFileNotFoundError, BundleNotReadyError
from core.jobs import bundles
from core.jobs.bundles import BundleFile
from core.storage.stored_objects import content_type_of
from stdo.bundle.manifest import Manifest
from stdo.bundle.manifest_reader import MANIFEST_NAME

CONTENT_TYPES = ("video/mp4", "application/vnd.apple.mpegurl", "application/octet-stream", "application/json")
NAMES_OTHERS = ".m3u8"
"""Suffix of files that name other files relative to their own address, which must therefore be ours."""

router = APIRouter(
    prefix="/jobs",
    tags=["bundles"],
    responses={
        **COMMON_PROBLEMS,
        **file_responses(*CONTENT_TYPES),
        **document(JOB_NOT_FOUND, BundleFileNotFoundError("networks/9.onnx"), BundleNotReadyError(JOB_ID, "training")),
    },
)


@router.get(
    f"/{{job_id}}/bundle/{MANIFEST_NAME}",
    summary="Get the manifest of a job's bundle",
    operation_id="get_manifest",
    response_class=Response,
    responses={200: {**file_responses()[200], "content": {}, "model": Manifest}},
)
def get_manifest(
    job_id: JobId, caller: CallerDep, session: SnapshotDep, services: ServicesDep, request: Request
) -> Response:
    """What the bundle is, and paths, sizes and hashes of its files, which lie beside this address. It never changes."""
    file = bundles.find_file(session, caller, job_id, MANIFEST_NAME)
    return _known_or_empty(file, services, request) or _send(file, services)


@router.get(
    "/{job_id}/bundle/{path:path}",
    summary="Get a file of a job's bundle",
    operation_id="get_bundle_file",
    response_class=Response,
    responses={
        307: answer(
            "The file lies at `Location` for some minutes. Only where the store is S3.",
            headers=("Location", "Cache-Control"),
        )
    },
)
def get_bundle_file(
    job_id: JobId,
    path: Annotated[str, Path(description="As in the manifest.", examples=["base.mp4", "base.m3u8"])],
    caller: CallerDep,
    session: SnapshotDep,
    services: ServicesDep,
    request: Request,
) -> Response:
    """A file that the manifest names. Byte ranges work; the files never change."""
    file = bundles.find_file(session, caller, job_id, path)
    return _known_or_empty(file, services, request) or _redirect(file, services) or _send(file, services)


def _known_or_empty(file: BundleFile, services: Services, request: Request) -> Response | None:
    """The answer where the bytes themselves are not asked for."""
    headers = _headers(file, services)
    if is_not_modified(request.headers, headers["ETag"]):
        return not_modified(headers)
    if request.state.is_head:
        length = {"Content-Length": str(file.byte_count), "Accept-Ranges": "bytes"}
        return Response(media_type=content_type_of(file.key), headers={**headers, **length})
    return None


def _redirect(file: BundleFile, services: Services) -> Response | None:
    """The way to a store that serves the file itself. A signed address is for GET alone."""
    if file.key.endswith(NAMES_OTHERS):
        return None
    seconds = services.settings.presigned_url_seconds
    url = services.store.presigned_url(file.key, expires_seconds=seconds)
    if url is None:
        return None
    # Used from a cache, the address has to live for a while yet.
    return RedirectResponse(url, status_code=307, headers={"Cache-Control": f"private, max-age={seconds // 2}"})


def _send(file: BundleFile, services: Services) -> Response:
    """The file from a store in a folder; from a bucket manifest and playlist alone, which are small, always whole."""
    headers, media_type = _headers(file, services), content_type_of(file.key)
    path = services.store.local_path(file.key)
    if path is None:
        return Response(services.store.read(file.key), media_type=media_type, headers=headers)
    return RangedFile(path, media_type=media_type, headers=headers)


def _headers(file: BundleFile, services: Services) -> dict[str, str]:
    # What needs a key is not for caches that serve others too.
    lifetime = FOR_ITS_OWNER_FOREVER if services.keys_required else FOR_EVERYONE_FOREVER
    return {"ETag": f'"{file.sha256}"', "Cache-Control": lifetime}
