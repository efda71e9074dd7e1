"""The child's side of a part: `python -m workers part SPEC.json`, started by `workers.sandbox.parent`.

It knows nothing of rows, queues or the object store. stdin is a lifeline: when it closes, the parent is dead, and the
whole process group, FFmpeg included, dies too. stdout carries `PartLine`s and nothing else.
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
from workers.progress import Progress
from workers.sandbox.part_spec import (
    EXIT_FAILURE,
    SPEC,
    EncodePart,
    FinishPart,
    PartLine,
    PartSpec,
    PlannedTrainings,
    PlanPart,
    ProbePart,
    TrainPart,
)

PROGRESS_SECONDS = 0.5
"""Shortest time between two lines. The first and the last report of a stage are written at once."""
PROBE_MEMORY_BYTES = 8 * 2**30
ENCODE_MEMORY_BYTES = 16 * 2**30
"""For ffmpeg, which inherits it: an encoder of large pictures holds many of them."""
OUT_OF_MEMORY_FILE = Path("/proc/self/oom_score_adj")
OUT_OF_MEMORY_SCORE = 500

STDIN, STDOUT, STDERR = 0, 1, 2


def carry_out(spec_path: Path) -> int:
    """Carry out the part that the file describes; the process's exit status."""
    faulthandler.enable()
    writer = ProgressWriter(_take_over_stdout())
    Thread(target=_watch_lifeline, name="lifeline", daemon=True).start()
    _forbid_core_dumps()
    raise_out_of_memory_score()
    spec = SPEC.validate_json(spec_path.read_bytes())
    if isinstance(spec, ProbePart):
        _limit_memory(PROBE_MEMORY_BYTES)
    elif isinstance(spec, EncodePart):
        _limit_memory(ENCODE_MEMORY_BYTES)
    try:
        _run(spec, writer.progress)
    except EncodingError as error:
        writer.write(PartLine(failure=error.as_failure()))
        return EXIT_FAILURE
    return 0


def _run(spec: PartSpec, report: Progress) -> None:
    """Run one part of the pipeline. Raises workers.errors.EncodingError."""
    # Imported here, since it takes seconds (torch): the lifeline and the limits are in force before it begins.
    from workers import pipeline

    match spec:
        case ProbePart():
            pipeline.probe(
                source=spec.source,
                work=spec.work,
                limits=spec.limits,
                sha256=spec.source_sha256,
                report=report,
                ffmpeg=spec.ffmpeg(),
            )
        case EncodePart():
            pipeline.encode(
                source=spec.source, settings=spec.settings, work=spec.work, report=report, ffmpeg=spec.ffmpeg()
            )
        case _:
            _run_networks(spec, report)


def _run_networks(spec: PlanPart | TrainPart | FinishPart, report: Progress) -> None:
    """Run a part that runs networks."""
    from workers import pipeline
    from workers.training.device import compute_exactly

    compute_exactly()
    source, settings, work, device, ffmpeg = spec.source, spec.settings, spec.work, spec.device, spec.ffmpeg()
    match spec:
        case PlanPart():
            plan = pipeline.plan(source, settings, work, device=device, report=report, ffmpeg=ffmpeg)
            PlannedTrainings(training_count=len(plan.trainings)).save(work)
        case TrainPart():
            pipeline.train(source, settings, work, spec.training_number, device=device, report=report, ffmpeg=ffmpeg)
        case FinishPart():
            pipeline.finish(
                source,
                settings,
                work,
                bundle_id=spec.bundle_id,
                created_at=spec.created_at,
                device=device,
                report=report,
                ffmpeg=ffmpeg,
            )


class ProgressWriter:
    """Writes a part's lines."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._written: StageReport | None = None
        self._written_at = 0.0

    def progress(self, stage: Stage, done: int, total: int, unit: ProgressUnit) -> None:
        """Tell how far the part is, or that it is alive, but not too often: a `workers.progress.Progress`."""
        now = time.monotonic()
        report = StageReport(stage=stage, done=done, total=total, unit=unit)
        is_news = report != self._written
        is_urgent = is_news and (done == total or self._written is None or stage != self._written.stage)
        if not is_urgent and now - self._written_at < PROGRESS_SECONDS:
            return
        self._written, self._written_at = report, now
        self.write(PartLine(progress=report) if is_news else PartLine(alive=True))

    def write(self, line: PartLine) -> None:
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


def raise_out_of_memory_score() -> None:
    """Let the system kill this process before any server of the machine, where memory runs out."""
    # A container may have put the score higher already, which only root may undo. Nothing depends on it.
    with suppress(OSError):
        if int(OUT_OF_MEMORY_FILE.read_text()) < OUT_OF_MEMORY_SCORE:
            OUT_OF_MEMORY_FILE.write_text(str(OUT_OF_MEMORY_SCORE))


def _limit_memory(byte_count: int) -> None:
    """Bound what this process may write to: a few bytes of a hostile video can ask a decoder for any amount.

    Not where networks run: torch and CUDA map many times what they use, so that no bound would fit. Such a part opens
    nothing but sources that a probe has read whole within this bound.
    """
    resource.setrlimit(resource.RLIMIT_DATA, (byte_count, byte_count))
