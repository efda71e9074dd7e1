"""Runs the command line, within the test's process or in one of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str


RunStdo = Callable[..., Outcome]


def run_stdo_process(
    *arguments: str, stdout: Any = subprocess.PIPE, before: str = ""
) -> subprocess.CompletedProcess[bytes]:
    """As from a shell. `before` is Python that runs first."""
    command = [sys.executable, "-c", f"{before}\nfrom stdo.cli.main import main; main()", *arguments]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, check=False, timeout=60)
