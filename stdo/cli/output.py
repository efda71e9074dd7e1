"""How the command line speaks: results on standard output, everything else on standard error, errors as exit codes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from stdo import errors
from stdo.cli.settings_arguments import SettingsArgumentError
from stdo.errors import StdoError
from stdo.service import api_errors

FAILED = 1
"""The job failed or was cancelled; a file of the bundle is damaged, or can't be restored or written."""
WRONG_USAGE = 2
"""A wrong option or argument; a file, folder, bundle or frame that is not there."""
SERVICE_FAILED = 3
"""The service, or the place of a bundle, can't be reached, or does not answer as it should."""
REFUSED = 4
"""The service refused the request: an unknown job, a wrong setting, a missing key."""
PIPE_CLOSED = 141
"""Whoever read standard output stopped reading, as after SIGPIPE."""

_CODES: dict[type[StdoError], int] = {
    api_errors.InvalidServiceUrlError: WRONG_USAGE,
    api_errors.UnreadableFileError: WRONG_USAGE,
    api_errors.BundleFolderError: WRONG_USAGE,
    api_errors.NothingAnswersError: SERVICE_FAILED,
    api_errors.ServiceUnreachableError: SERVICE_FAILED,
    api_errors.UnexpectedAnswerError: SERVICE_FAILED,
    errors.BundleNotFoundError: WRONG_USAGE,
    errors.FrameRangeError: WRONG_USAGE,
    errors.TransferError: SERVICE_FAILED,
    SettingsArgumentError: WRONG_USAGE,
}


class UsageError(StdoError):
    """The command line asks for something that can't be."""


class OutputError(StdoError):
    """Results can't be written to standard output."""


def claim_standard_output() -> None:
    """Keep standard output for what the command itself writes: whatever a native library prints there goes to standard
    error, and never into the middle of a video or of JSON."""
    before = sys.stdout
    before.flush()
    own = os.dup(before.fileno())
    os.dup2(sys.stderr.fileno(), before.fileno())
    sys.stdout = open(own, "w", encoding=before.encoding, errors=before.errors)  # noqa: SIM115, PTH123 - to the end.


def console() -> Console:
    """Standard output, for tables: as wide as they need where nobody looks at it."""
    return Console(width=None if sys.stdout.isatty() else 200, highlight=False)


def messages(*, quiet: bool = False) -> Console:
    """Standard error, for progress and errors."""
    return Console(stderr=True, highlight=False, quiet=quiet, force_terminal=False if quiet else None)


def foreign_text(text: str) -> Text:
    """What a manifest or a server says, to be shown: nothing in it is markup, or steers the terminal."""
    return Text("".join(one if one.isprintable() or one == "\n" else "\N{REPLACEMENT CHARACTER}" for one in text))


def print_json(value: Any) -> None:
    """The result as one JSON document."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def told_errors(*, as_json: bool) -> Iterator[None]:
    """Errors of the library, told in a sentence (or as JSON), end the command with their exit code."""
    try:
        yield
        sys.stdout.flush()
    except StdoError as error:
        _tell(error, as_json=as_json)
        raise typer.Exit(_exit_code(error)) from error
    except OSError as error:
        if error.filename is not None:  # Of a file, and none of the errors that the library expects.
            raise
        # What is still in the buffer can't be written when Python ends, either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise typer.Exit(PIPE_CLOSED) from error
        _tell(OutputError(f"Standard output can't be written: {error.strerror}."), as_json=as_json)
        raise typer.Exit(FAILED) from error


def _tell(error: StdoError, *, as_json: bool) -> None:
    if as_json:
        sys.stderr.write(json.dumps({"error": _as_json(error)}, ensure_ascii=False) + "\n")
    else:
        messages().print(Text.assemble(("error:", "bold red"), " ", foreign_text(str(error))), soft_wrap=True)


def _exit_code(error: StdoError) -> int:
    if isinstance(error, UsageError):
        return WRONG_USAGE
    if isinstance(error, api_errors.ApiError):
        return REFUSED if error.status < 500 else SERVICE_FAILED
    return _CODES.get(type(error), FAILED)


def _as_json(error: StdoError) -> dict[str, Any]:
    if isinstance(error, api_errors.ApiError):
        return error.problem.model_dump(mode="json")
    return {"type": type(error).__name__, "detail": str(error)}
