"""What schemathesis is told through SCHEMATHESIS_HOOKS: some things that exist."""

from __future__ import annotations

import json
import os
import zlib
from typing import Any

import schemathesis

UNKNOWN_HEADER = "x-schemathesis-unknown-property"
KNOWN: dict[str, str] = json.loads(os.environ["KNOWN_PATH_PARAMETERS"])


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Every other path names what exists."""
    if path_parameters is None:
        return None
    return {name: KNOWN[name] if is_odd(value) else value for name, value in path_parameters.items()}


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """HTTP has it that unknown headers are ignored, so one more makes no request wrong."""
    return UNKNOWN_HEADER not in case.headers


def is_odd(value: object) -> bool:
    """By its bytes, so that the same run gives the same."""
    return zlib.crc32(str(value).encode(errors="replace")) % 2 == 1
