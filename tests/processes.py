"""What a test sees of processes, from /proc."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

PROC = Path("/proc")


def parent_of(pid: int) -> int | None:
    """The parent of a living process; None for one that is gone, or dead and not yet reaped."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[1])


def is_alive(pid: int) -> bool:
    """Whether the process runs."""
    return parent_of(pid) is not None


def command_of(pid: int) -> str:
    """Its command line, for messages."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def descendants_of(pid: int) -> dict[int, str]:
    """Every process below this one, with its command line."""
    parents = {int(path.name): parent_of(int(path.name)) for path in PROC.iterdir() if path.name.isdecimal()}
    found: dict[int, str] = {}
    layer = {pid}
    while layer:
        layer = {child for child, parent in parents.items() if parent in layer}
        found |= {child: command_of(child) for child in layer}
    return found


def peak_memory_bytes(pid: int) -> int:
    """The most resident memory that the process ever had."""
    for line in (PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no VmHWM for {pid}")


def wait_until(condition: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Wait for something that happens in another process. Raises TimeoutError, which names it."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {seconds} s")
        time.sleep(0.02)
