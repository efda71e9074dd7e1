"""The API as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI

from app.dependencies import authenticate
from app.http.body_limit import BodyLimitMiddleware
from app.http.error_handlers import UnhandledErrorMiddleware, install_error_handlers
from app.http.head_requests import HeadMiddleware
from app.http.origins import allow_web_pages
from app.http.request_log import RequestLogMiddleware
from app.openapi import documentation
from app.routes import bundles, health, jobs, presets, public_files, videos
from app.services import Services
from app.uploads.receive import FORM_BYTES, remove_stale_uploads
from core.logs import configure_logging
from core.settings import Settings, load_settings

JSON_BYTES = 1024 * 1024
"""Longest body of a request without a file."""

UPLOAD_PATHS = ("/v1/jobs", "/v1/videos")


class Api(FastAPI):
    """FastAPI, with this service's own OpenAPI document."""

    def openapi(self) -> dict[str, Any]:
        """The document, built once."""
        if not self.openapi_schema:
            services: Services = self.state.services
            self.openapi_schema = documentation.build_openapi(self, keys_required=services.keys_required)
        return self.openapi_schema


def create_app(settings: Settings, *, keys_required: bool | None = None) -> FastAPI:
    """The API on the settings' database, store and broker.

    Callers need an API key where `keys_required`, by default in deployed mode. Raises SettingsError.
    """
    if keys_required is None:
        keys_required = settings.mode == "deployed"
    services = Services.from_settings(settings, keys_required=keys_required)
    app = Api(title=documentation.TITLE, lifespan=_lifespan, redirect_slashes=False)
    app.state.services = services
    install_error_handlers(app)
    _install_middleware(app, services)
    app.include_router(health.router)
    app.include_router(public_files.router, prefix="/v1")
    for routes in (jobs, videos, bundles, presets):
        app.include_router(routes.router, prefix="/v1", dependencies=[Depends(authenticate)])
    return app


def create_app_from_environment() -> FastAPI:
    """The API of deployed mode, for a server that starts it by name in several processes."""
    settings = load_settings()
    configure_logging(as_json=settings.mode == "deployed")
    return create_app(settings)


def _install_middleware(app: FastAPI, services: Services) -> None:
    # The last one added is the outermost.
    app.add_middleware(HeadMiddleware)
    app.add_middleware(
        BodyLimitMiddleware,
        default_bytes=JSON_BYTES,
        bytes_of_path=dict.fromkeys(UPLOAD_PATHS, services.settings.max_upload_bytes + FORM_BYTES),
    )
    app.add_middleware(UnhandledErrorMiddleware)
    allow_web_pages(app, keys_required=services.keys_required)
    app.add_middleware(RequestLogMiddleware)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    remove_stale_uploads(services.settings)
    yield
    services.close()
