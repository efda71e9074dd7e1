"""How an answer of the service is read: what it holds, or which named error it is. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from stdo.service.api_errors import (
    ApiError,
    EventStreamUnavailableError,
    InvalidServiceUrlError,
    NothingAnswersError,
    ServiceUnreachableError,
    UnexpectedAnswerError,
)
from stdo.service.resources import Job, Problem

Answer = TypeVar("Answer")
Model = TypeVar("Model", bound=BaseModel)

_NO_STREAM_STATUSES = frozenset({405, 406, 501})


def retry_after_seconds(response: httpx.Response, default_seconds: float) -> float:
    """The pause that the service asks for (it always says seconds, not a date), at most a minute."""
    try:
        # In this order of the arguments what is no number ("nan") becomes 0.
        return min(max(0.0, float(response.headers["Retry-After"])), 60.0)
    except (KeyError, ValueError):
        return default_seconds


@contextmanager
def named_errors(url: httpx.URL) -> Iterator[None]:
    """Turns what httpx raises into errors that say what to do."""
    try:
        yield
    except httpx.InvalidURL as error:
        raise InvalidServiceUrlError(f"{url} is not a usable address: {error}") from error
    except httpx.ConnectTimeout as error:
        message = f"Nothing answers at {url} in time. Is the service running, and is the address right?"
        raise NothingAnswersError(message) from error
    except httpx.TimeoutException as error:
        message = f"The service at {url} did not answer in time ({type(error).__name__}). It may be busy: try again."
        raise ServiceUnreachableError(message) from error
    except httpx.ConnectError as error:
        message = f"Nothing answers at {url} ({error}). Is the service running, and is the address right?"
        raise NothingAnswersError(message) from error
    except (httpx.TransportError, httpx.StreamError) as error:
        message = f"The connection to the service at {url} broke ({error or type(error).__name__}). Try again."
        raise ServiceUnreachableError(message) from error
    except (httpx.TooManyRedirects, httpx.DecodingError) as error:
        raise UnexpectedAnswerError(f"What answers at {url} does not behave like the service: {error}") from error


def raise_for_problem(response: httpx.Response) -> None:
    """Raises ApiError for a 4xx or 5xx, UnexpectedAnswerError for a redirect that wasn't followed."""
    if response.has_redirect_location:
        target = response.headers.get("Location", "elsewhere")
        raise UnexpectedAnswerError(f"{response.url} redirects to {target}: give that address as the service's URL.")
    if response.is_error:
        raise ApiError(_problem(response))


def parse_job(response: httpx.Response) -> Job:
    """The job in an answer whose status was checked before."""
    return _parsed(response, Job.model_validate_json)


def _problem(response: httpx.Response) -> Problem:
    try:
        return Problem.model_validate_json(response.content)
    except ValidationError:
        # Not the service itself but something before it, such as a proxy that limits the size of a request.
        return Problem(
            type="about:blank",
            title=f"HTTP {response.status_code} {response.reason_phrase}".strip(),
            status=response.status_code,
            detail=response.text[:300].strip(),
        )


def model_of(model: type[Model]) -> Callable[[httpx.Response], Model]:
    """Reads the answer as a resource. Raises UnexpectedAnswerError where it is none."""
    return lambda response: _parsed(response, model.model_validate_json)


def _parsed(response: httpx.Response, parse: Callable[[bytes], Answer]) -> Answer:
    raise_for_problem(response)
    try:
        return parse(response.content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the answer"
        message = (
            f"What answers at {response.url} is no stdo service, or one of another version ({where}: {first['msg']})."
        )
        raise UnexpectedAnswerError(message) from error


def unless_error(response: httpx.Response) -> httpx.Response:
    """The answer as it is, once its status was checked."""
    if response.status_code != httpx.codes.NOT_MODIFIED:
        raise_for_problem(response)
    return response


def file_answer(response: httpx.Response) -> httpx.Response:
    """The answer to a request for a file or a range of it. One that refuses the range (416) is for the caller."""
    return response if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE else unless_error(response)


def event_stream(response: httpx.Response) -> httpx.Response:
    """The answer whose body is a stream of events, or is empty. Raises EventStreamUnavailableError."""
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
    nothing_more = response.status_code == httpx.codes.NO_CONTENT
    no_stream = response.is_success and media_type != "text/event-stream" and not nothing_more
    if no_stream or response.status_code in _NO_STREAM_STATUSES:
        raise EventStreamUnavailableError(f"{response.url} gives no event stream (HTTP {response.status_code}).")
    return unless_error(response)


def nothing(response: httpx.Response) -> None:
    """Reads an answer without a body."""
    raise_for_problem(response)
