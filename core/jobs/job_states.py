"""The life of a job: the only writer of `jobs.state`, and what each end of a task means for its job.

    prepare_job -> train_network, one a network, in any order -> finish_job

A worker claims a task, sends heartbeats while it works, and ends it with succeed(), fail(), release() or
acknowledge_cancel(). Each call is one short transaction of the caller. Each locks the job's row before it touches a
task, so that two tasks of a job that end together see each other.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from pydantic import ValidationError
from sqlalchemy.orm import Session

from core.callers import Caller
from core.errors import JobFinishedError, JobNotFoundError
from core.jobs import bundles, events, job_progress, leases
from core.jobs.claims import Claim, Finished, Heartbeat, Prepared, Probed, Result, Trained, claim_of
from core.jobs.progress import StageReport
from core.tables import JobRow, TaskRow, VideoRow
from stdo.service.resources import TERMINAL_JOB_STATES, Failure, JobState

_log = logging.getLogger(__name__)

MOVES: Mapping[JobState, frozenset[JobState]] = {
    "queued": frozenset({"preparing", "failed", "cancelled"}),
    "preparing": frozenset({"training", "failed", "cancelled"}),
    "training": frozenset({"finishing", "failed", "cancelled"}),
    "finishing": frozenset({"succeeded", "failed", "cancelled"}),
    "succeeded": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}
"""Where a job may go from each state. States that end a job never change."""

OUTDATED_SETTINGS = Failure(
    type="outdated_settings",
    title="The job's settings are not understood any more",
    detail="The job was made by another version of the service, whose settings this one does not know. Make a new job.",
)

FIRST_PAUSE = timedelta(seconds=30)
"""Before a task is tried again after its machinery failed; doubled for each further attempt. With the three attempts
that are usual, an outage of a minute and a half costs no job."""
LONGEST_PAUSE = timedelta(minutes=10)


class InvalidMoveError(Exception):
    """A job was to go from one state to another that does not follow it: a defect of the service."""


def start(session: Session, job: JobRow, *, now: datetime) -> None:
    """Add a new job in state queued, with its first task."""
    job.state = "queued"
    session.add(job)
    session.flush()
    events.add_state_event(session, job, now=now)
    leases.add_task(session, "prepare_job", video_id=job.video_id, job_id=job.id, now=now)


def claim(session: Session, task_id: str, *, now: datetime, lease: timedelta) -> Claim | None:
    """Make a task ours; None where another worker has it, or there is nothing left to do.

    A job whose settings this version of the service can't read fails.
    """
    seen = session.get(TaskRow, task_id)
    if seen is None:
        return None
    job = _lock_job(session, seen.job_id)
    task = leases.take(session, task_id, now=now, lease=lease)
    if task is None:
        return None
    if job is not None:
        _record_claim(session, job, task, now)
    try:
        return claim_of(task, job, lease=lease)
    except ValidationError:
        # If this rolled the claim back, the task would be sent and claimed again for ever.
        _log.warning("the settings of job %s can't be read", task.job_id, exc_info=True)
        _fail(session, job, task, OUTDATED_SETTINGS, now=now)
        return None


def _record_claim(session: Session, job: JobRow, task: TaskRow, now: datetime) -> None:
    if job.state == "queued":
        job.started_at = now
        _move(session, job, "preparing", now=now)
    elif task.attempt > 1:
        events.add_state_event(session, job, now=now, message=f"{_describe(task)}: attempt {task.attempt}")


def heartbeat(session: Session, claim: Claim, *, now: datetime, report: StageReport | None = None) -> Heartbeat:
    """Keep a task, and record how far it is. Send one at once when the stage changes, else every few seconds.

    Where the answer says `lost`, stop: somebody else has the task, or the job has ended. Where it says
    `cancel_requested`, stop and call acknowledge_cancel().
    """
    job = _lock_job(session, claim.job_id)
    task = leases.extend(session, claim.task_id, claim.token, now=now, lease=claim.lease)
    if task is None:
        return Heartbeat(lost=True, cancel_requested=False)
    if report is not None:
        job_progress.record(session, job, task, report, now=now)
    return Heartbeat(lost=False, cancel_requested=job is not None and job.cancel_requested)


def succeed(session: Session, claim: Claim, result: Result, *, now: datetime) -> None:
    """End a task with its result, and let the tasks after it begin. Raises LeaseLostError."""
    if isinstance(result, Probed):
        _accept_video(session, claim, result, now)
        return
    job, task = _lock_held(session, claim)
    assert job is not None
    leases.end(task, "succeeded", now=now)
    job_progress.record_end(session, job, task, now=now)
    if job.cancel_requested and not isinstance(result, Finished):
        _cancel_when_idle(session, job, now)
        return
    match result:
        case Prepared():
            assert task.kind == "prepare_job"
            _start_training(session, job, result.network_count, now)
        case Trained():
            assert task.kind == "train_network"
            _finish_when_trained(session, job, now)
        case Finished():
            assert task.kind == "finish_job"
            bundles.add(session, job.id, result.bundle, now=now)
            _move(session, job, "succeeded", now=now)


def _accept_video(session: Session, claim: Claim, result: Probed, now: datetime) -> None:
    video = _lock_video(session, claim.video_id)
    task = leases.hold(session, claim.task_id, claim.token)
    assert task.kind == "probe_video"
    assert video is not None
    leases.end(task, "succeeded", now=now)
    video.state = "ready"
    video.source = result.source.model_dump(mode="json")


def _start_training(session: Session, job: JobRow, network_count: int, now: datetime) -> None:
    for index in range(network_count):
        leases.add_task(session, "train_network", video_id=job.video_id, job_id=job.id, network_number=index, now=now)
    leases.add_task(session, "finish_job", video_id=job.video_id, job_id=job.id, now=now, wait=True)
    _move(session, job, "training", now=now)


def _finish_when_trained(session: Session, job: JobRow, now: datetime) -> None:
    tasks = leases.tasks_of_job(session, job.id)
    if any(task.state != "succeeded" for task in tasks if task.kind == "train_network"):
        return
    (finish,) = (task for task in tasks if task.kind == "finish_job")
    leases.queue_task(session, finish, now=now)
    _move(session, job, "finishing", now=now)


def fail(
    session: Session, claim: Claim, failure: Failure, *, now: datetime, infrastructure: bool, max_attempts: int
) -> None:
    """End a task that did not work. Raises LeaseLostError.

    A failure of the video or the encode fails the job (or refuses the video) for good. A failure of the
    infrastructure, such as a worker's crash or a store that does not answer, is tried again after a pause, until the
    task was tried `max_attempts` times. A probe that is given up then says nothing of the video, which stays uploaded:
    its jobs probe it again. Where the job is to be cancelled, it is.
    """
    job, task = _lock_held(session, claim)
    if infrastructure:
        _try_again(session, job, task, failure.detail, now=now, max_attempts=max_attempts, pause=True)
    elif job is not None and job.cancel_requested:
        _end_cancelled(session, job, task, now)
    else:
        _fail(session, job, task, failure, now=now)


def release(session: Session, claim: Claim, *, now: datetime) -> None:
    """Give a task back because this worker is being shut down; the attempt does not count. Raises LeaseLostError.

    Where the job is to be cancelled, the task ends: cancel() has been and gone, so nobody would end it later.
    """
    job, task = _lock_held(session, claim)
    if job is not None and job.cancel_requested:
        _end_cancelled(session, job, task, now)
        return
    if job is not None:
        job_progress.record_loss(job, task, now=now)
    leases.give_back(session, task, now=now, pause=timedelta(0), used=False)


def acknowledge_cancel(session: Session, claim: Claim, *, now: datetime) -> None:
    """End a task whose job is to be cancelled; the last one cancels the job. Raises LeaseLostError."""
    job, task = _lock_held(session, claim)
    assert job is not None
    _end_cancelled(session, job, task, now)


def cancel(session: Session, caller: Caller, job_id: str, *, now: datetime) -> JobRow:
    """Cancel a job: at once where nobody works on it, else as soon as its workers have stopped.

    Asking twice changes nothing. Raises JobNotFoundError, or JobFinishedError where the job has ended.
    """
    job = _lock_job(session, job_id)
    if job is None or job.tenant != caller.tenant:
        raise JobNotFoundError(job_id)
    if job.state in TERMINAL_JOB_STATES:
        raise JobFinishedError(job_id, job.state)
    if not job.cancel_requested:
        job.cancel_requested = True
        leases.cancel_unclaimed(session, job_id, now=now)
        _cancel_when_idle(session, job, now)
    return job


def _cancel_when_idle(session: Session, job: JobRow, now: datetime) -> None:
    if all(task.state != "running" for task in leases.tasks_of_job(session, job.id)):
        leases.cancel_unclaimed(session, job.id, now=now)
        _move(session, job, "cancelled", now=now)


def reap(session: Session, *, now: datetime, max_attempts: int, include_live: bool = False) -> int:
    """Take tasks back from workers that have fallen silent; how many.

    `include_live` takes every running task, for a service that has just started and knows that none of its workers
    survived. Should one have, its writes are refused all the same.
    """
    count = 0
    for seen in leases.silent_tasks(session, now=now, include_live=include_live):
        job = _lock_job(session, seen.job_id)
        if job is None:
            _lock_video(session, seen.video_id)
        task = leases.seize(session, seen.id, now=now, include_live=include_live)
        if task is None:
            continue
        _try_again(session, job, task, "its worker fell silent", now=now, max_attempts=max_attempts, pause=False)
        count += 1
    return count


def _try_again(
    session: Session, job: JobRow | None, task: TaskRow, reason: str, *, now: datetime, max_attempts: int, pause: bool
) -> None:
    """Queue a task again that we hold, unless its job is to be cancelled or it was tried too often."""
    if job is not None and job.cancel_requested:
        _end_cancelled(session, job, task, now)
        return
    if task.attempt >= max_attempts:
        _give_up(session, job, task, reason, now=now)
        return
    if job is not None:
        job_progress.record_loss(job, task, now=now)
        events.add_state_event(session, job, now=now, message=f"{_describe(task)} will be tried again: {reason}")
    delay = _pause_after(task.attempt) if pause else timedelta(0)
    leases.give_back(session, task, now=now, pause=delay, used=True)


def _pause_after(attempt: int) -> timedelta:
    # Doubled step by step: 2 ** attempt is more than a timedelta holds.
    pause = FIRST_PAUSE
    for _ in range(1, attempt):
        pause = min(pause * 2, LONGEST_PAUSE)
    return pause


def _give_up(session: Session, job: JobRow | None, task: TaskRow, reason: str, *, now: datetime) -> None:
    failure = _exhausted(task, reason)
    if job is not None:
        _fail(session, job, task, failure, now=now)
        return
    # Nothing is known against the video: refused, it could not be encoded for ever, for a store's outage.
    _log.error("video %s was not probed: %s", task.video_id, failure.detail)
    leases.end(task, "failed", now=now)


def _exhausted(task: TaskRow, reason: str) -> Failure:
    return Failure(
        type="infrastructure",
        title="The service failed",
        detail=f"{_describe(task)} was tried {task.attempt} times; the last time: {reason}. "
        "Try once more; if that fails too, the service's operator finds the cause in the workers' log.",
    )


def _fail(session: Session, job: JobRow | None, task: TaskRow, failure: Failure, *, now: datetime) -> None:
    """End a task that we hold as failed, and its job with it; or refuse the video that it probed."""
    leases.end(task, "failed", now=now)
    if job is None:
        video = session.get(VideoRow, task.video_id)
        assert video is not None
        video.state = "refused"
        video.refusal = failure.model_dump()
        return
    job.failure = failure.model_dump()
    job_progress.record_loss(job, task, now=now)
    for other in leases.tasks_of_job(session, job.id):
        if other.state == "running":
            job_progress.record_loss(job, other, now=now)
    leases.revoke(session, job.id, now=now)
    _move(session, job, "failed", now=now, message=failure.title)


def _end_cancelled(session: Session, job: JobRow, task: TaskRow, now: datetime) -> None:
    leases.end(task, "cancelled", now=now)
    job_progress.record_loss(job, task, now=now)
    _cancel_when_idle(session, job, now)


def _move(session: Session, job: JobRow, state: JobState, *, now: datetime, message: str | None = None) -> None:
    if state not in MOVES[job.state]:
        raise InvalidMoveError(f"job {job.id} can't go from {job.state} to {state}")
    job.state = state
    if state in TERMINAL_JOB_STATES:
        job.finished_at = now
        job.speed = job.eta_seconds = None
    if state == "succeeded":
        job.progress = 1.0
    events.add_state_event(session, job, now=now, message=message)


def _lock_held(session: Session, claim: Claim) -> tuple[JobRow | None, TaskRow]:
    """The claim's job (None for a probe) and task, ours until the end of the transaction. Raises LeaseLostError."""
    job = _lock_job(session, claim.job_id)
    if claim.job_id is None:
        _lock_video(session, claim.video_id)
    return job, leases.hold(session, claim.task_id, claim.token)


def _lock_job(session: Session, job_id: str | None) -> JobRow | None:
    """The job's row as it is now, ours until the end of the transaction. (SQLite has one lock for all.)"""
    if job_id is None:
        return None
    session.flush()
    return session.get(JobRow, job_id, with_for_update=True, populate_existing=True)


def _lock_video(session: Session, video_id: str) -> VideoRow | None:
    session.flush()
    return session.get(VideoRow, video_id, with_for_update=True, populate_existing=True)


def _describe(task: TaskRow) -> str:
    return task.kind if task.network_number is None else f"{task.kind} {task.network_number}"
