"""The API under uvicorn, and the socket that it listens on.

The socket is bound before anything else starts, so that a port in use is noticed at once.
"""

from __future__ import annotations

import errno
import ipaddress
import socket

import uvicorn
from fastapi import FastAPI

from app.main import create_app
from app.serve.supervisor import ServeError
from core.logs import configure_logging
from core.settings import Settings

BACKLOG = 2048
GRACEFUL_SECONDS = 5
"""For requests to end after the wish to stop. Streams of events are cut off then, and their clients reconnect."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises ServeError, which says why it can't be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ServeError(_explain(error, host, port)) from error


def _explain(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} of {host} is in use. Stop what listens there, or choose another one with --port."
    if error.errno == errno.EACCES:
        return f"Port {port} may not be used by this user. Choose one above 1023 with --port."
    return f"Can't listen on {host} port {port}: {error.strerror}. Check --host."


def url_of(listener: socket.socket) -> str:
    """The address under which this machine reaches the socket. Every-address hosts are reached by loopback."""
    host, port = listener.getsockname()[:2]
    address = ipaddress.ip_address(host.split("%")[0])
    if address.is_unspecified:
        address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
    return f"http://{f'[{address}]' if address.version == 6 else address}:{port}"


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
