"""Log lines: JSON for machines in deployed mode, plain text for people in embedded mode."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

REQUEST_FIELDS = ("request_id", "method", "path", "status", "duration_ms")


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record with its time, and with the fields of a request where it has them."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_request_fields(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


class PlainFormatter(logging.Formatter):
    """One line of text, the fields of a request at its end."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name that logging calls.
        """The line without any traceback."""
        fields = "".join(f" {name}={value}" for name, value in _request_fields(record).items())
        return super().formatMessage(record) + fields


def configure_logging(*, as_json: bool) -> None:
    """Send all log lines of this process to stderr, Python's warnings among them."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else PlainFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    # botocore and its kind tell every request, addresses and all, below WARNING.
    for name in ("boto3", "botocore", "urllib3", "s3transfer", "httpx", "celery", "kombu", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _request_fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: getattr(record, name) for name in REQUEST_FIELDS if hasattr(record, name)}
