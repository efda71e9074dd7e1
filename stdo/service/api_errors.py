"""What can go wrong between a client and the service, each with a message that says what to do."""

from __future__ import annotations

from stdo.errors import StdoError
from stdo.service.resources import FieldError, Problem


class ApiError(StdoError):
    """The service answered with an error (RFC 9457 problem details)."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        lines = [f"{problem.title}: {problem.detail}" if problem.detail else problem.title]
        # The detail of a request with one fault often says it all.
        unsaid = [error for error in problem.errors if error.message not in problem.detail]
        lines += [f"  {error.field}: {error.message}" for error in unsaid]
        super().__init__("\n".join(lines))

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.problem.status

    @property
    def type(self) -> str:
        """A stable word for programs, such as `/problems/job-not-found`."""
        return self.problem.type

    @property
    def title(self) -> str:
        """What kind of error it is, the same each time."""
        return self.problem.title

    @property
    def detail(self) -> str:
        """What happened this time, and what to do about it."""
        return self.problem.detail

    @property
    def errors(self) -> tuple[FieldError, ...]:
        """Which fields of the request are wrong."""
        return self.problem.errors


class InvalidServiceUrlError(StdoError):
    """The service's address, or the key for it, can't be used in an HTTP request."""


class ServiceUnreachableError(StdoError):
    """No answer: nothing listens, the connection broke, or what came isn't usable. Trying again may help."""


class NothingAnswersError(ServiceUnreachableError):
    """No connection: nothing listens there, or the name is unknown."""


class UnexpectedAnswerError(StdoError):
    """Something answered, but not as this service would."""


class EventStreamUnavailableError(StdoError):
    """The service, or a proxy before it, gives no event stream; polling works all the same."""


class WaitTimeoutError(StdoError):
    """The job was still running when the time to wait was over. The job itself goes on."""


class NoBundleError(StdoError):
    """The job has no bundle to fetch: it isn't finished, failed or was cancelled."""


class UnreadableFileError(StdoError):
    """A file to upload can't be read."""


class BundleFolderError(StdoError):
    """A bundle can't be written to this folder."""


class DownloadMismatchError(StdoError):
    """A downloaded file is not the one that the manifest promises."""
