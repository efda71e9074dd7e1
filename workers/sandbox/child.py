"""The child's side of a step: `python -m workers step SPEC.json`, started by `workers.sandbox.parent`.

It knows nothing of rows, queues or the object store. stdin is a lifeline: when it closes, the parent is dead, and the
whole process group, FFmpeg included, dies too. stdout carries `StepLine`s and nothing else.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread

from core.jobs.progress import StageReport
from stdo.service.resources import ProgressUnit, Stage
from workers.errors import EncodingError
from workers.sandbox.part_spec import EXIT_FAILURE, SPEC, ProbeStep, StepLine
from workers.source.probe import probe_source
from workers.work_folder import WorkFolder

PROGRESS_SECONDS = 0.5
"""Shortest distance of two lines, the first and the last report of a stage apart."""
PROBE_MEMORY_BYTES = 8 * 2**30
OUT_OF_MEMORY_FILE = Path("/proc/self/oom_score_adj")
OUT_OF_MEMORY_SCORE = 500

STDIN, STDOUT, STDERR = 0, 1, 2


def run_step(spec_path: Path) -> int:
    """Carry out the step that the file describes; its exit status."""
    faulthandler.enable()
    speaker = Speaker(_take_over_stdout())
    Thread(target=_watch_lifeline, name="lifeline", daemon=True).start()
    _forbid_core_dumps()
    be_first_out_of_memory()
    spec = SPEC.validate_json(spec_path.read_bytes())
    try:
        if isinstance(spec, ProbeStep):
            _limit_memory(PROBE_MEMORY_BYTES)
            info = probe_source(spec.source, limits=spec.limits, report=speaker.progress, program=spec.ffmpeg())
            WorkFolder(root=spec.work).source_info.write_text(info.model_dump_json())
        else:
            # Imported here, since it takes seconds and a probe needs nothing of it.
            from workers.sandbox.encoding_part import carry_out

            carry_out(spec, speaker.progress)
    except EncodingError as error:
        speaker.say(StepLine(failure=error.as_failure()))
        return EXIT_FAILURE
    return 0


class Speaker:
    """Writes step lines."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._said: StageReport | None = None
        self._spoke_at = 0.0

    def progress(self, stage: Stage, done: int, total: int, unit: ProgressUnit) -> None:
        """Say how far the step is, or that it is alive, but not too often: a `workers.progress.Progress`."""
        now = time.monotonic()
        report = StageReport(stage=stage, done=done, total=total, unit=unit)
        is_news = report != self._said
        is_urgent = is_news and (done == total or self._said is None or stage != self._said.stage)
        if not is_urgent and now - self._spoke_at < PROGRESS_SECONDS:
            return
        self._said, self._spoke_at = report, now
        self.say(StepLine(progress=report) if is_news else StepLine(alive=True))

    def say(self, line: StepLine) -> None:
        """Write one line."""
        os.write(self._descriptor, line.model_dump_json(exclude_none=True).encode() + b"\n")


def _take_over_stdout() -> int:
    """Keep stdout for ourselves: what libraries and children print there goes to stderr instead."""
    sys.stdout.flush()
    descriptor = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)
    return descriptor


def _watch_lifeline() -> None:
    while os.read(STDIN, 1):
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _forbid_core_dumps() -> None:
    """They would hold users' videos."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def be_first_out_of_memory() -> None:
    """Be the first to go where memory runs out, before any server of the machine."""
    # A container may have put the score higher already, which only root may undo. Nothing depends on it.
    with suppress(OSError):
        if int(OUT_OF_MEMORY_FILE.read_text()) < OUT_OF_MEMORY_SCORE:
            OUT_OF_MEMORY_FILE.write_text(str(OUT_OF_MEMORY_SCORE))


def _limit_memory(byte_count: int) -> None:
    """Bound what this process may write to. Torch maps far more than it uses, so that only a probe has such a bound."""
    resource.setrlimit(resource.RLIMIT_DATA, (byte_count, byte_count))
