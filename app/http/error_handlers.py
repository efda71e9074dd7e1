"""What routes, FastAPI, SQLAlchemy and the file system raise, told as problem details."""

from __future__ import annotations

import errno
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http import problems
from app.http.problems import ProblemError
from core.errors import DatabaseUnavailableError, ServiceError
from stdo.service.resources import FieldError

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

log = logging.getLogger(__name__)


class NothingMoreError(Exception):
    """There is nothing to send, now or later: no error of anyone's, but the end of a stream that was heard before."""


def install_error_handlers(app: FastAPI) -> None:
    """Make every error that a route can raise a problem. What is left over, UnhandledErrorMiddleware answers."""
    app.add_exception_handler(ServiceError, problems.handle_service_error)
    app.add_exception_handler(HTTPException, _handle_http_exception)
    app.add_exception_handler(RequestValidationError, _handle_validation_error)
    app.add_exception_handler(OperationalError, _handle_database_error)
    app.add_exception_handler(InterfaceError, _handle_database_error)
    app.add_exception_handler(PoolTimeoutError, _handle_database_error)
    app.add_exception_handler(OSError, _handle_os_error)
    app.add_exception_handler(NothingMoreError, _handle_nothing_more)


def _handle_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error, ProblemError):
        return problems.render(request.scope, error)
    return problems.render(request.scope, _problem_of(request.scope, error))


def _problem_of(scope: Scope, error: HTTPException) -> ProblemError:
    """What Starlette and FastAPI raise by themselves: no route, no method, a body that can't be read."""
    if error.status_code == problems.NOT_FOUND.status:
        return ProblemError(problems.NOT_FOUND, "There is nothing at this address. GET /docs shows what there is.")
    if error.status_code == problems.METHOD_NOT_ALLOWED.status:
        methods = ", ".join(_allowed_methods(scope))
        detail = f"{scope['method']} is not possible here. Possible are: {methods}."
        return ProblemError(problems.METHOD_NOT_ALLOWED, detail, headers={"Allow": methods})
    return ProblemError(problems.MALFORMED_REQUEST, f"{error.detail}.")


def _allowed_methods(scope: Scope) -> list[str]:
    """Methods of the request's address, for the Allow header. The router itself only knows the first route it finds."""
    routes: Sequence[BaseRoute] = scope["app"].router.routes
    found = [name for name in METHODS if any(_matches(route, {**scope, "method": name}) for route in routes)]
    return [*found[:1], "HEAD", *found[1:]] if "GET" in found else found


def _matches(route: BaseRoute, scope: Scope) -> bool:
    return route.matches(scope)[0] is Match.FULL


def _handle_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    items: Sequence[Mapping[str, Any]] = error.errors()
    for item in items:
        if item["type"] == "json_invalid":
            detail = f"The body is not JSON: {item['ctx']['error']}, at character {item['loc'][-1]}."
            return problems.render(request.scope, ProblemError(problems.MALFORMED_JSON, detail))
    fields = (FieldError(field=_field_name(item["loc"]), message=plain_message(item["msg"])) for item in items)
    # What two dependencies ask for is told twice.
    return problems.render(request.scope, invalid_fields(tuple(dict.fromkeys(fields))))


def _field_name(location: Sequence[str | int]) -> str:
    """`query.limit`, `header.range`; of a body the path alone: `settings.scale`."""
    parts = location[1:] if location[0] == "body" and len(location) > 1 else location
    return ".".join(str(part) for part in parts)


def plain_message(message: str) -> str:
    """A validator's message without pydantic's own prefix."""
    return message.removeprefix("Value error, ")


def invalid_fields(fields: tuple[FieldError, ...]) -> ProblemError:
    """Some fields of the request are wrong."""
    detail = "; ".join(f"{item.field}: {item.message}" for item in fields)
    return ProblemError(problems.INVALID_REQUEST, detail, errors=fields)


def _handle_database_error(request: Request, error: Exception) -> Response:
    problem = DatabaseUnavailableError("The database does not answer. Try again in a few seconds.")
    problem.__cause__ = error
    return problems.handle_service_error(request, problem)


def _handle_os_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, OSError)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        detail = "The service has no room left for this file. Try again later, or delete videos and jobs."
        return problems.render(request.scope, ProblemError(problems.STORAGE_FULL, detail))
    return problems.internal_error(request.scope, error)


def _handle_nothing_more(request: Request, error: Exception) -> Response:  # noqa: ARG001 - a handler's shape.
    return Response(status_code=204)


class UnhandledErrorMiddleware:
    """Answers what no handler knows with a problem that tells nothing but the id of the log line."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, send_watched)
        except ClientDisconnect:
            log.info("the client went away before its request was complete")
        except Exception as error:
            response = problems.internal_error(scope, error)
            if started:
                # Too late for another status. Breaking the connection tells the client that the body is not whole.
                raise
            await response(scope, receive, send)
