"""Whether the process lives, and whether it can serve."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

import anyio
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter
from pydantic import BaseModel

from app.dependencies import ServicesDep
from app.http import problems
from app.http.problems import ProblemError
from app.openapi.documentation import answer, document
from core.errors import ServiceError
from core.task_queue import check_broker
from stdo.service.resources import FieldError

CHECK_SECONDS = 3.0
"""A part that takes longer to answer counts as not ready."""

router = APIRouter(tags=["health"])
log = logging.getLogger(__name__)


class Liveness(BaseModel):
    """The process answers."""

    status: Literal["alive"]


class Readiness(BaseModel):
    """Every part answers."""

    status: Literal["ready"]


@router.get(
    "/livez",
    summary="Is the process alive?",
    operation_id="get_liveness",
    responses={200: answer("It is.")},
)
async def get_liveness() -> Liveness:
    """Answers as long as the process does. For a supervisor that restarts what hangs. Needs no API key."""
    return Liveness(status="alive")


NOT_READY_EXAMPLE = ProblemError(
    problems.NOT_READY,
    "These parts do not answer: broker.",
    errors=(FieldError(field="broker", message="no answer within 3 seconds"),),
)


@router.get(
    "/readyz",
    summary="Can the service do its work?",
    operation_id="get_readiness",
    responses={200: answer("It can."), **document(NOT_READY_EXAMPLE)},
)
async def get_readiness(services: ServicesDep) -> Readiness:
    """Asks the database, the message broker and the object store. For a load balancer. Needs no API key."""
    checks: dict[str, Callable[[], None]] = {
        "database": services.database.check,
        "broker": lambda: check_broker(services.settings),
        "object_store": services.store.check,
    }
    failures: list[FieldError] = []

    async def run(name: str, check: Callable[[], None]) -> None:
        message = await _failure_of(check, services.check_limiter)
        if message is not None:
            failures.append(FieldError(field=name, message=message))

    async with anyio.create_task_group() as group:
        for name, check in checks.items():
            group.start_soon(run, name, check)
    if failures:
        names = ", ".join(sorted(failure.field for failure in failures))
        raise ProblemError(problems.NOT_READY, f"These parts do not answer: {names}.", errors=tuple(failures))
    return Readiness(status="ready")


async def _failure_of(check: Callable[[], None], limiter: CapacityLimiter) -> str | None:
    try:
        with anyio.fail_after(CHECK_SECONDS):
            await to_thread.run_sync(check, abandon_on_cancel=True, limiter=limiter)
    except TimeoutError:
        return f"no answer within {CHECK_SECONDS:.0f} seconds"
    except ServiceError as error:
        log.warning("not ready: %s", error.detail, exc_info=error.__cause__)
        return error.title
    return None
