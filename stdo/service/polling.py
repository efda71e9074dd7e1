"""How a client follows a job: what to ask next and when, for both clients; no I/O."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
from httpx_sse import ServerSentEvent
from pydantic import ValidationError

from stdo.service import api_calls as calls
from stdo.service.answers import parse_job, retry_after_seconds
from stdo.service.api_errors import UnexpectedAnswerError, WaitTimeoutError
from stdo.service.resources import TERMINAL_JOB_STATES, Job, JobEvent

DEFAULT_POLL_SECONDS = 2.0


class JobPoll:
    """Asks for a job again and again, but not for what didn't change (ETag), nor more often than told (Retry-After)."""

    def __init__(self, job_id: str, timeout_seconds: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.pause_seconds = 0.0
        self._job: Job | None = None
        self._job_id = job_id
        self._etag: str | None = None
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._deadline = None if timeout_seconds is None else clock() + timeout_seconds

    @property
    def finished(self) -> bool:
        """Whether the job came to its end."""
        return self._job is not None and self._job.state in TERMINAL_JOB_STATES

    def next_call(self) -> calls.Call[httpx.Response]:
        """What to ask now. Raises WaitTimeoutError."""
        if self._deadline is not None and self._clock() >= self._deadline:
            state = self._job.state if self._job else "not answered for"
            waited = f"after {self._timeout_seconds:g} seconds"
            raise WaitTimeoutError(f"Job {self._job_id} is still {state} {waited}. It goes on; wait again later.")
        return calls.poll_job(self._job_id, self._etag)

    def take(self, response: httpx.Response) -> Job | None:
        """Reads an answer: the job where it changed."""
        self.pause_seconds = retry_after_seconds(response, DEFAULT_POLL_SECONDS)
        if self._deadline is not None:
            self.pause_seconds = min(self.pause_seconds, max(self._deadline - self._clock(), 0.0))
        if response.status_code == httpx.codes.NOT_MODIFIED:
            return None
        self._etag = response.headers.get("ETag")
        before, self._job = self._job, parse_job(response)
        return self._job if self._job != before else None


class EventCursor:
    """Where a client is in a job's history, so that a broken stream goes on where it broke (Last-Event-ID)."""

    def __init__(self, job_id: str, last_event_id: int) -> None:
        self.job_id = job_id
        self.last_event_id = last_event_id
        self.finished = False
        self.pause_seconds = DEFAULT_POLL_SECONDS
        self._silent = True

    @property
    def in_doubt(self) -> bool:
        """Whether the stream ended without a word. The job is then to be asked whether it has ended, too."""
        return self._silent and not self.finished

    def next_call(self) -> calls.Call[httpx.Response]:
        """The stream from here on."""
        self._silent = True
        return calls.event_stream(self.job_id, self.last_event_id)

    def has_more(self, response: httpx.Response) -> bool:
        """Whether a stream follows; there is none for who has all events of a job that has ended."""
        self.finished = response.status_code == httpx.codes.NO_CONTENT
        return not self.finished

    def take(self, message: ServerSentEvent) -> JobEvent | None:
        """Reads a message of the stream; None for one that tells nothing new."""
        if message.retry is not None:
            self.pause_seconds = min(message.retry / 1000, 60.0)
        if not message.data:
            return None
        try:
            event = JobEvent.model_validate_json(message.data)
        except ValidationError as error:
            raise UnexpectedAnswerError(f"Job {self.job_id}: the service sent an event that can't be read.") from error
        if event.id <= self.last_event_id:
            return None
        self.last_event_id = event.id
        self._silent = False
        self.finished = event.state in TERMINAL_JOB_STATES
        return event
