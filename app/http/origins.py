"""Which web pages may use the service from a browser.

With API keys any page may: it has nothing that its own user did not give it. Without keys the service trusts whoever
reaches its loopback address, and every page that the user visits can do that. So only pages of this machine may.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from app.http import problems
from app.http.problems import ProblemError

LOOPBACK_ORIGIN = r"https?://(localhost|[a-z0-9-]+\.localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?"
ALLOWED_REQUEST_HEADERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-None-Match",
    "If-Range",
    "Last-Event-ID",
    "Range",
)
EXPOSED_HEADERS = (
    "Accept-Ranges",
    "Content-Length",
    "Content-Range",
    "ETag",
    "Location",
    "Retry-After",
    "X-Request-ID",
)

_LOOPBACK_ORIGIN = re.compile(LOOPBACK_ORIGIN)


def allow_web_pages(app: FastAPI, *, keys_required: bool) -> None:
    """Answer cross-origin requests of those pages that may use the service, and refuse the others."""
    app.add_middleware(
        CORSMiddleware,
        allow_origins=("*",) if keys_required else (),
        allow_origin_regex=None if keys_required else LOOPBACK_ORIGIN,
        allow_methods=("GET", "HEAD", "POST", "DELETE"),
        allow_headers=ALLOWED_REQUEST_HEADERS,
        expose_headers=EXPOSED_HEADERS,
        max_age=3600,
    )
    if not keys_required:
        app.add_middleware(LoopbackOnlyMiddleware)


def is_loopback_name(host: str) -> bool:
    """Whether a host name or address can only be this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class LoopbackOnlyMiddleware:
    """Refuses what a foreign web page makes a browser send to a service without keys.

    The Host header tells of a foreign name that was made to resolve to this machine, the Origin header of a foreign
    page that sends a form.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _is_from_here(Headers(scope=scope)):
            detail = (
                "This service runs without API keys, and so answers only to localhost and to web pages of this "
                "machine. To serve others, bind it to another address: it then asks for API keys."
            )
            await problems.render(scope, ProblemError(problems.FOREIGN_ORIGIN, detail))(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _is_from_here(headers: Headers) -> bool:
    origin = headers.get("origin")
    if origin is not None and not _LOOPBACK_ORIGIN.fullmatch(origin):
        return False
    try:
        host = urlsplit(f"//{headers.get('host', '')}").hostname
    except ValueError:
        return False
    return host is not None and is_loopback_name(host)
