"""Writes a job's progress, speed, ETA and stage times from what its workers report. The caller holds the job's row."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from core.jobs import events, leases
from core.jobs.progress import (
    NetworkProgress,
    StageReport,
    finishing_eta_seconds,
    job_fraction,
    smoothed_speed,
    task_fraction,
    training_eta_seconds,
)
from core.tables import JobRow, TaskKind, TaskRow


def record(session: Session, job: JobRow | None, task: TaskRow, report: StageReport, *, now: datetime) -> None:
    """Write down how far a task is, and with it its job. `job` is None for probe_video."""
    stage_changed = task.stage != report.stage
    if stage_changed:
        _close_stage(job, task, now)
        task.stage, task.stage_started_at = report.stage, now
        task.progressed_at, task.speed = now, None
    else:
        _measure_speed(task, report, now)
    task.stage_done, task.stage_total, task.stage_unit = report.done, report.total, report.unit
    task.fraction = task_fraction(task.kind, report)
    if job is None:
        return
    job_stage_changed = job.stage != report.stage
    job.stage = report.stage
    _update_job(session, job, report, now)
    events.add_progress_event(session, job, now=now, stage_changed=job_stage_changed)


def record_end(session: Session, job: JobRow, task: TaskRow, *, now: datetime) -> None:
    """Write down that a task has done all it had to do."""
    _close_stage(job, task, now)
    task.fraction = 1.0
    _raise_progress(job, leases.tasks_of_job(session, job.id))


def record_loss(job: JobRow, task: TaskRow, *, now: datetime) -> None:
    """Write down that a task stops before its end: the time was spent, and the speed is no longer known."""
    _close_stage(job, task, now)
    job.speed = job.eta_seconds = None


def _close_stage(job: JobRow | None, task: TaskRow, now: datetime) -> None:
    if job is None or task.stage is None or task.stage_started_at is None:
        return
    spent = (now - task.stage_started_at).total_seconds()
    # A new dictionary: SQLAlchemy does not see changes inside one.
    job.stage_seconds = {**job.stage_seconds, task.stage: job.stage_seconds.get(task.stage, 0.0) + spent}
    task.stage_started_at = now


def _measure_speed(task: TaskRow, report: StageReport, now: datetime) -> None:
    if task.stage_done is None or task.progressed_at is None or report.done < task.stage_done:
        # The stage began again. Where it stands now is no measure of its speed.
        task.progressed_at, task.speed = now, None
        return
    seconds = (now - task.progressed_at).total_seconds()
    if report.done > task.stage_done and seconds > 0:
        task.speed = smoothed_speed(task.speed, units=report.done - task.stage_done, seconds=seconds)
        task.progressed_at = now


def _update_job(session: Session, job: JobRow, report: StageReport, now: datetime) -> None:
    tasks = leases.tasks_of_job(session, job.id)
    _raise_progress(job, tasks)
    networks = _of_kind(tasks, "train_network")
    working = networks if report.stage == "train" else [task for task in tasks if task.stage == report.stage]
    job.stage_done = sum(task.stage_done or 0 for task in working)
    job.stage_total = _expected_total(working)
    job.stage_unit = report.unit
    job.speed = sum(task.speed or 0.0 for task in working if task.state == "running") or None
    job.eta_seconds = _eta_seconds(job, networks, report, now)


def _expected_total(tasks: Sequence[TaskRow]) -> int:
    """Units of all tasks together; one that has not begun counts as much as the largest that has."""
    totals = [task.stage_total for task in tasks if task.stage_total is not None]
    largest = max(totals)
    return sum(totals) + largest * (len(tasks) - len(totals))


def _eta_seconds(job: JobRow, networks: Sequence[TaskRow], report: StageReport, now: datetime) -> float | None:
    """Seconds until the job's end; null before training, since nothing before it tells how long it takes."""
    if job.started_at is None or not networks:
        return None
    if report.stage == "train":
        states = [
            NetworkProgress(fraction=task.fraction, total=task.stage_total, speed=task.speed) for task in networks
        ]
        return training_eta_seconds(states, started_at=job.started_at, now=now)
    return finishing_eta_seconds(report, job.speed, started_at=job.started_at, now=now)


def _raise_progress(job: JobRow, tasks: Sequence[TaskRow]) -> None:
    progress = job_fraction(
        prepare=_first_fraction(tasks, "prepare_job"),
        train=[task.fraction for task in _of_kind(tasks, "train_network")],
        finish=_first_fraction(tasks, "finish_job"),
    )
    job.progress = max(job.progress, min(progress, 1.0))


def _of_kind(tasks: Sequence[TaskRow], kind: TaskKind) -> list[TaskRow]:
    return [task for task in tasks if task.kind == kind]


def _first_fraction(tasks: Sequence[TaskRow], kind: TaskKind) -> float:
    return next((task.fraction for task in tasks if task.kind == kind), 0.0)
