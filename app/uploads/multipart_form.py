"""A multipart form with one large file: python-multipart's events, with limits on everything else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.http import problems
from app.http.problems import ProblemError, invalid_field

FILE_PART = "file"
MAX_FIELD_BYTES = 64 * 1024
DEFAULT_FILE_NAME = "video"
MAX_FILE_NAME_LENGTH = 255


def boundary_of(content_type: str | None) -> bytes:
    """The boundary that a multipart body's header names. Raises ProblemError for any other kind of body."""
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise ProblemError(
            problems.UNSUPPORTED_MEDIA_TYPE,
            "Send multipart/form-data with the video in the part `file`, as `curl -F file=@video.mp4` does.",
        )
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise ProblemError(problems.MALFORMED_MULTIPART, "The Content-Type header names no boundary.")
    return boundary


class VideoForm:
    """Takes a form's body piece by piece. The bytes of the part `file` go to `write`, the text fields are kept.

    Each method raises ProblemError as soon as it is clear that the form is refused.
    """

    def __init__(
        self,
        boundary: bytes,
        *,
        field_names: Sequence[str],
        write: Callable[[bytes], None],
        check: Callable[[Mapping[str, str]], None] = lambda _: None,
    ) -> None:
        """`check` is given the text fields that come before the file: it can refuse them before a long upload."""
        self._check = check
        self._names = (FILE_PART, *field_names)
        self._write = write
        self._values: dict[str, bytearray] = {}
        self._part = ""
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._disposition = b""
        self._complete = False
        self.file_name: str | None = None
        """What the sender calls the file; None while no file has come."""
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._add_header_name,
                    "on_header_value": self._add_header_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._add_data,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise _malformed(error) from error

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the body."""
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise _malformed(error) from error

    def finish(self) -> Mapping[str, str]:
        """The text fields, after the body's last byte."""
        if not self._complete:
            raise ProblemError(problems.MALFORMED_MULTIPART, "The body ends before its closing boundary.")
        if self.file_name is None:
            raise invalid_field(FILE_PART, "required: the video itself")
        return self._fields()

    def _fields(self) -> Mapping[str, str]:
        return {name: self._decode(name, value) for name, value in self._values.items()}

    def _decode(self, name: str, value: bytearray) -> str:
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise invalid_field(name, "must be UTF-8 text") from None

    def _begin_part(self) -> None:
        self._disposition = b""

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise ProblemError(problems.MALFORMED_MULTIPART, "A part has no name in its Content-Disposition header.")
        self._part = _text(options[b"name"])
        if self._part not in self._names:
            raise invalid_field(self._part, f"unknown part; known are {', '.join(self._names)}")
        if self._part in self._values or (self._part == FILE_PART and self.file_name is not None):
            raise invalid_field(self._part, "given twice")
        if self._part == FILE_PART:
            self._check(self._fields())
            self.file_name = plain_file_name(_text(options.get(b"filename", b"")))
        else:
            self._values[self._part] = bytearray()

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._part == FILE_PART:
            self._write(data[start:end])
            return
        value = self._values[self._part]
        if len(value) + end - start > MAX_FIELD_BYTES:
            detail = f"The part {self._part} may have at most {MAX_FIELD_BYTES} bytes."
            raise ProblemError(problems.CONTENT_TOO_LARGE, detail)
        value += data[start:end]

    def _end(self) -> None:
        self._complete = True


def plain_file_name(name: str) -> str:
    """The name alone, as text to show: no folders, nothing invisible, not too long."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    visible = "".join(character for character in last if character.isprintable()).strip()
    return visible[:MAX_FILE_NAME_LENGTH] or DEFAULT_FILE_NAME


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _malformed(error: FormParserError) -> ProblemError:
    return ProblemError(problems.MALFORMED_MULTIPART, f"The body is not a well-formed multipart form: {error}.")
