"""What is the same for everybody, and needs no API key: the general networks, and the schema of manifests."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel
from starlette.responses import Response

from app.http.problems import NETWORK_NOT_FOUND, ProblemError
from app.http.representations import FOR_EVERYONE_FOREVER, RangedFile, is_not_modified, not_modified
from app.openapi.documentation import NOT_MODIFIED, answer, document
from app.openapi.examples import SHA256
from app.openapi.shared_parts import OPEN_PROBLEMS, file_responses
from stdo.bundle.fields import Sha256
from stdo.bundle.manifest import Channels, Scale
from stdo.bundle.schema import SCHEMA_PATH
from stdo.networks.general import GENERAL
from stdo.service.resources import Page

SCHEMA_LIFETIME = "public, max-age=3600"
"""A later version of the service may have a later one."""

router = APIRouter(responses=OPEN_PROBLEMS)


class GeneralNetworkFile(BaseModel):
    """A general network f0: trained on many videos, and the same for every bundle."""

    sha256: Sha256
    """Of its ONNX file, which lies at `/v1/networks/{sha256}`."""
    architecture: str
    scale: Scale
    channels: Channels
    byte_count: int


@router.get(
    "/networks",
    tags=["networks"],
    summary="List the general networks",
    operation_id="list_networks",
    responses={200: answer("Every general network.")},
)
def list_networks() -> Page[GeneralNetworkFile]:
    """The networks that bundles name by their hash and do not carry. Needs no API key."""
    return Page[GeneralNetworkFile](
        items=tuple(
            GeneralNetworkFile(
                sha256=sha256,
                architecture=network.architecture,
                scale=network.scale,
                channels=network.channels,
                byte_count=network.path.stat().st_size,
            )
            for sha256, network in GENERAL.items()
        ),
        next_cursor=None,
    )


@router.get(
    "/networks/{sha256}",
    tags=["networks"],
    summary="Get a general network",
    operation_id="get_network",
    response_class=Response,
    responses={
        **file_responses("application/octet-stream"),
        **document(ProblemError(NETWORK_NOT_FOUND, "There is no general network with this hash.")),
    },
)
def get_network(
    sha256: Annotated[str, Path(description="Of the file, as in a manifest.", examples=[SHA256])], request: Request
) -> Response:
    """A general network as an ONNX file. It never changes and never goes away. Needs no API key."""
    network = GENERAL.get(sha256)
    if network is None:
        detail = "There is no general network with this hash. GET /v1/networks lists those that there are."
        raise ProblemError(NETWORK_NOT_FOUND, detail)
    headers = {"ETag": f'"{sha256}"', "Cache-Control": FOR_EVERYONE_FOREVER}
    if is_not_modified(request.headers, headers["ETag"]):
        return not_modified(headers)
    return RangedFile(network.path, media_type="application/octet-stream", headers=headers)


@router.get(
    "/schemas/manifest.json",
    tags=["bundles"],
    summary="Get the JSON Schema of manifests",
    operation_id="get_manifest_schema",
    response_class=Response,
    responses={
        200: {
            **answer("The schema.", headers=("ETag", "Cache-Control")),
            "content": {"application/schema+json": {"schema": {"type": "object"}}},
        },
        304: dict(NOT_MODIFIED),
    },
)
def get_manifest_schema(request: Request) -> Response:
    """The JSON Schema (draft 2020-12) of a bundle's `manifest.json`. Needs no API key."""
    content = SCHEMA_PATH.read_bytes()
    headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "Cache-Control": SCHEMA_LIFETIME}
    if is_not_modified(request.headers, headers["ETag"]):
        return not_modified(headers)
    return Response(content, media_type="application/schema+json", headers=headers)
