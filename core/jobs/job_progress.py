"""Writes a job's progress, speed, ETA and stage times from what its workers report. The caller holds the job's row."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from core.jobs import events, leases
from core.jobs.part_kinds import JOB_PARTS, PART_KINDS
from core.jobs.progress import StageReport, part_fraction, smoothed_speed, weight_before
from core.tables import JobRow, PartRow

PROGRESS_DIGITS = 4
ETA_DIGITS = 1
SPEED_DIGITS = 3
SECONDS_DIGITS = 3


def record(session: Session, job: JobRow | None, part: PartRow, report: StageReport, *, now: datetime) -> None:
    """Write down how far a part is, and with it its job. `job` is None for a probe."""
    if part.stage != report.stage:
        _close_stage(job, part, now)
        part.stage, part.stage_started_at = report.stage, now
        part.progressed_at, part.speed = now, None
    else:
        _measure_speed(part, report, now)
    part.stage_done, part.stage_total, part.stage_unit = report.done, report.total, report.unit
    part.fraction = part_fraction(part.kind, report)
    if job is None:
        return
    stage_before = job.stage
    _show(job, leases.parts_of_job(session, job.id), part, now)
    events.add_progress_event(session, job, now=now, stage_changed=job.stage != stage_before)


def record_end(session: Session, job: JobRow, part: PartRow, *, now: datetime) -> None:
    """Write down that a part has done all it had to do."""
    part.fraction = 1.0
    record_stop(session, job, part, now=now)


def record_stop(session: Session, job: JobRow, part: PartRow, *, now: datetime) -> None:
    """Write down that nobody works on a part any more: the job shows another that runs, or none."""
    _close_stage(job, part, now)
    part.stage_started_at = part.speed = None
    parts = leases.parts_of_job(session, job.id)
    others = (other for other in parts if _works(other) and other.id != part.id)
    _show(job, parts, next(others, None), now)


def close_stages(job: JobRow, parts: Sequence[PartRow], *, now: datetime) -> None:
    """Write down the time that running parts have spent so far, before they are ended."""
    for part in parts:
        if _works(part):
            _close_stage(job, part, now)


def show_nothing(job: JobRow) -> None:
    """Write down that nobody works on any part of the job."""
    job.stage = job.stage_done = job.stage_total = job.stage_unit = job.speed = job.eta_seconds = None


def _close_stage(job: JobRow | None, part: PartRow, now: datetime) -> None:
    if job is None or part.stage is None or part.stage_started_at is None:
        return
    spent = job.stage_seconds.get(part.stage, 0.0) + _stage_seconds(part, now)
    # A new dictionary: SQLAlchemy does not see changes inside one.
    job.stage_seconds = {**job.stage_seconds, part.stage: round(spent, SECONDS_DIGITS)}
    part.stage_started_at = now


def _measure_speed(part: PartRow, report: StageReport, now: datetime) -> None:
    if part.stage_done is None or part.progressed_at is None or report.done < part.stage_done:
        # The stage began again. Where it stands now is no measure of its speed.
        part.progressed_at, part.speed = now, None
        return
    seconds = (now - part.progressed_at).total_seconds()
    if report.done > part.stage_done and seconds > 0:
        part.speed = smoothed_speed(part.speed, units=report.done - part.stage_done, seconds=seconds)
        part.progressed_at = now


def _show(job: JobRow, parts: Sequence[PartRow], shown: PartRow | None, now: datetime) -> None:
    """Set what the job tells of itself: its progress, and the stage of the part that is shown."""
    job.progress = max(job.progress, round(min(_progress(parts), 1.0), PROGRESS_DIGITS))
    show_nothing(job)
    if shown is None:
        return
    alike = [part for part in parts if part.kind == shown.kind]
    job.stage, job.stage_unit = shown.stage, shown.stage_unit
    job.stage_done = sum(part.stage_done or 0 for part in alike)
    job.stage_total = _expected_total(alike)
    speed = sum(part.speed or 0.0 for part in alike if part.state == "running")
    job.speed = round(speed, SPEED_DIGITS) or None
    eta = _eta_seconds(job, alike, shown, now)
    job.eta_seconds = None if eta is None else round(eta, ETA_DIGITS)


def _progress(parts: Sequence[PartRow]) -> float:
    total = 0.0
    for definition in JOB_PARTS:
        fractions = [part.fraction for part in parts if part.kind == definition.kind]
        total += definition.weight * sum(fractions) / max(len(fractions), 1)
    return total


def _expected_total(parts: Sequence[PartRow]) -> int:
    """Units of all parts together; one that has not begun counts as much as the largest that has."""
    totals = [part.stage_total for part in parts if part.stage_total is not None]
    return sum(totals) + max(totals) * (len(parts) - len(totals))


def _eta_seconds(job: JobRow, alike: Sequence[PartRow], shown: PartRow, now: datetime) -> float | None:
    """Seconds until the job's end, from the speed of its stage; null where no speed tells it.

    What comes after the stage is taken to be as slow, by weight, as the job was up to then. Times in a queue don't
    count: nobody knows how long the next one is.
    """
    working = [part for part in alike if part.speed and part.stage_total and _works(part)]
    if not working or not PART_KINDS[shown.kind].forecasts:
        return None
    assert shown.stage is not None
    stage_rate = sum((part.speed or 0.0) / (part.stage_total or 1) for part in working)
    left = sum(1.0 - _stage_fraction(part) for part in alike) / stage_rate
    weight_done = weight_before(shown.kind, shown.stage) + PART_KINDS[shown.kind].stages[shown.stage]
    seconds_done = sum(job.stage_seconds.values()) + sum(_stage_seconds(part, now) for part in alike)
    return left + (1.0 - weight_done) / weight_done * (seconds_done + left * len(working))


def _stage_fraction(part: PartRow) -> float:
    if part.state == "succeeded":
        return 1.0
    return (part.stage_done or 0) / part.stage_total if part.stage_total else 0.0


def _stage_seconds(part: PartRow, now: datetime) -> float:
    return 0.0 if part.stage_started_at is None else (now - part.stage_started_at).total_seconds()


def _works(part: PartRow) -> bool:
    return part.state == "running" and part.stage is not None
