"""Resources as responses that a caller can hold against what it has already."""

from __future__ import annotations

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from app.http.preconditions import entity_tag, is_not_modified

REVALIDATE = "private, no-cache"


def represent(request: Request, resource: BaseModel, *, retry_after_seconds: int | None = None) -> Response:
    """The resource with its entity tag, or 304 where the caller has it.

    `retry_after_seconds`: when it is worth asking again, where the resource is still changing.
    """
    content = resource.model_dump_json().encode()
    headers = {"ETag": entity_tag(content), "Cache-Control": REVALIDATE}
    if retry_after_seconds is not None:
        headers["Retry-After"] = str(retry_after_seconds)
    if is_not_modified(request.headers, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="application/json", headers=headers)
