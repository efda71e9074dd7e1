"""The API under uvicorn."""

from __future__ import annotations

import socket

import uvicorn
from fastapi import FastAPI

from app.main import create_app
from core.logs import configure_logging
from core.settings import Settings

GRACEFUL_SECONDS = 5
"""For requests to end after the wish to stop. Streams of events are cut off then, and their clients reconnect."""


def serve_embedded(listener: socket.socket, settings: Settings, *, keys_required: bool) -> None:
    """Serve in this process until SIGTERM."""
    configure_logging(as_json=False)
    _run(create_app(settings, keys_required=keys_required), listener)


def serve_deployed(listener: socket.socket, *, processes: int) -> None:
    """Serve from the environment's settings, in so many processes, until SIGTERM.

    Addresses of callers are taken from X-Forwarded-For where the proxy is one that FORWARDED_ALLOW_IPS names.
    """
    configure_logging(as_json=True)
    _run("app.main:create_app_from_environment", listener, factory=True, processes=processes)


def _run(app: FastAPI | str, listener: socket.socket, *, factory: bool = False, processes: int = 1) -> None:
    uvicorn.run(
        app,
        fd=listener.fileno(),
        factory=factory,
        workers=processes,
        log_config=None,
        # Its lines have the query, where secrets may be. RequestLogMiddleware writes our own.
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
    )
