"""The life of a job: what workers and callers do to it, and what each end of a part means.

A worker claims a part, sends heartbeats while it works, and ends it with succeed(), fail(), release() or
acknowledge_cancel(). Each call is one short transaction of the caller. Each locks the job's row (for a probe: the
video's) before it touches a part, so that two parts of a job that end together see each other.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

from pydantic import ValidationError
from sqlalchemy.orm import Session

from core.callers import Caller
from core.errors import JobFinishedError, JobNotFoundError
from core.jobs import events, job_flow, job_progress, leases
from core.jobs.claims import Claim, Heartbeat, PartResult, Probed, claim_of
from core.jobs.part_kinds import PART_KINDS, PROBE_VERSION
from core.jobs.progress import StageReport
from core.tables import JobRow, PartKind, PartRow, QueueName, VideoRow
from stdo.service.resources import TERMINAL_JOB_STATES, Failure

_log = logging.getLogger(__name__)

OUTDATED_SETTINGS = Failure(
    type="outdated_settings",
    title="The job's settings are not understood any more",
    detail="The job was made by another version of the service, whose settings this one does not know. Make a new job.",
)

FIRST_PAUSE = timedelta(seconds=30)
"""Before a part is tried again after its machinery failed; doubled for each further attempt. With the three attempts
that are usual, an outage of a minute and a half costs no job."""
LONGEST_PAUSE = timedelta(minutes=10)

NONE_CHOSEN: Mapping[PartKind, QueueName] = MappingProxyType({})


def claim(session: Session, part_id: str, *, now: datetime, lease: timedelta) -> Claim | None:
    """Make a part ours; None where another worker has it, or there is nothing left to do.

    A job whose settings this version of the service can't read fails.
    """
    seen = session.get(PartRow, part_id)
    if seen is None:
        return None
    job = _lock_job(session, seen.job_id)
    part = leases.take(session, part_id, now=now, lease=lease)
    if part is None:
        return None
    inputs = () if job is None else job_flow.inputs_of(session, job, part)
    if job is not None:
        job_flow.record_claim(session, job, part, now=now)
    try:
        video = session.get_one(VideoRow, part.video_id)
        return claim_of(part, video, job, lease=lease, inputs=inputs, output_prefix=job_flow.output_prefix(part))
    except ValidationError:
        # If this rolled the claim back, the part would be sent and claimed again for ever.
        _log.warning("the settings of job %s can't be read", part.job_id, exc_info=True)
        _fail(session, job, part, OUTDATED_SETTINGS, now=now)
        return None


def heartbeat(session: Session, claim: Claim, *, now: datetime, report: StageReport | None = None) -> Heartbeat:
    """Keep a part, and record how far it is. Send one at once when the stage changes, else every few seconds.

    Where the answer says `lost`, stop: somebody else has the part, or the job has ended. Where it says
    `cancel_requested`, stop and call acknowledge_cancel().
    """
    job = _lock_job(session, claim.job_id)
    part = leases.extend(session, claim.part_id, claim.token, now=now, lease=claim.lease)
    if part is None:
        return Heartbeat(lost=True, cancel_requested=False)
    if report is not None:
        job_progress.record(session, job, part, report, now=now)
    return Heartbeat(lost=False, cancel_requested=job is not None and job.cancel_requested)


def succeed(
    session: Session,
    claim: Claim,
    result: PartResult,
    *,
    now: datetime,
    queues: Mapping[PartKind, QueueName] = NONE_CHOSEN,
) -> None:
    """End a part with its result, and let the parts after it begin. Raises LeaseLostError.

    Args:
        queues: core.jobs.part_kinds.chosen_queues() of the operator's settings.
    """
    job, part = _lock_held(session, claim)
    assert type(result) is PART_KINDS[part.kind].result
    leases.end(part, "succeeded", now=now)
    if job is None:
        assert isinstance(result, Probed)
        _accept_video(session, part, result, now)
        return
    job_progress.record_end(session, job, part, now=now)
    job_flow.record_success(session, job, part, result, queues=queues, now=now)


def _accept_video(session: Session, part: PartRow, result: Probed, now: datetime) -> None:
    video = session.get_one(VideoRow, part.video_id)
    video.state, video.refusal = "ready", None
    video.source = result.source.model_dump(mode="json")
    video.probe_version, video.probe_prefix = PROBE_VERSION, job_flow.output_prefix(part)
    for job in job_flow.jobs_waiting_for_probe(session, video.id):
        job_flow.begin(session, job, video, now=now)


def fail(
    session: Session, claim: Claim, failure: Failure, *, now: datetime, infrastructure: bool, max_attempts: int
) -> None:
    """End a part that did not work. Raises LeaseLostError.

    A failure of the video or the encode fails the job (or refuses the video) for good. A failure of the
    infrastructure, such as a worker's crash or a store that does not answer, is tried again after a pause, until the
    part was tried `max_attempts` times. A probe that is given up then fails the jobs that wait for it, but says nothing
    of the video: the next job has it probed again. Where the job is to be cancelled, it is.
    """
    job, part = _lock_held(session, claim)
    if infrastructure:
        _try_again(session, job, part, failure.detail, now=now, max_attempts=max_attempts, pause=True)
    elif job is not None and job.cancel_requested:
        _end_cancelled(session, job, part, now)
    else:
        _fail(session, job, part, failure, now=now)


def release(session: Session, claim: Claim, *, now: datetime) -> None:
    """Give a part back because this worker is being shut down; the attempt does not count. Raises LeaseLostError.

    Where the job is to be cancelled, the part ends: cancel() has been and gone, so nobody would end it later.
    """
    job, part = _lock_held(session, claim)
    if job is not None and job.cancel_requested:
        _end_cancelled(session, job, part, now)
        return
    if job is not None:
        job_progress.record_stop(session, job, part, now=now)
    leases.give_back(session, part, now=now, pause=timedelta(0), used=False)


def acknowledge_cancel(session: Session, claim: Claim, *, now: datetime) -> None:
    """End a part whose job is to be cancelled; the last one cancels the job. Raises LeaseLostError."""
    job, part = _lock_held(session, claim)
    assert job is not None
    _end_cancelled(session, job, part, now)


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
        job_flow.cancel_when_idle(session, job, now=now)
    return job


def reap(session: Session, *, now: datetime, max_attempts: int, include_live: bool = False) -> int:
    """Take parts back from workers that have fallen silent; how many.

    `include_live` takes every running part, for a service that has just started and knows that none of its workers
    survived. Should one have, its writes are refused all the same.
    """
    count = 0
    for seen in leases.silent_parts(session, now=now, include_live=include_live):
        job = _lock_job(session, seen.job_id)
        if job is None:
            _lock_video(session, seen.video_id)
        part = leases.seize(session, seen.id, now=now, include_live=include_live)
        if part is None:
            continue
        _try_again(session, job, part, "its worker fell silent", now=now, max_attempts=max_attempts, pause=False)
        count += 1
    return count


def _try_again(
    session: Session, job: JobRow | None, part: PartRow, reason: str, *, now: datetime, max_attempts: int, pause: bool
) -> None:
    """Queue a part again that we hold, unless its job is to be cancelled or it was tried too often."""
    if job is not None and job.cancel_requested:
        _end_cancelled(session, job, part, now)
        return
    if part.attempt >= max_attempts:
        _give_up(session, job, part, reason, now=now)
        return
    if job is not None:
        job_progress.record_stop(session, job, part, now=now)
        message = f"{job_flow.describe(part)} will be tried again: {reason}"
        events.add_state_event(session, job, now=now, message=message)
    delay = _pause_after(part.attempt) if pause else timedelta(0)
    leases.give_back(session, part, now=now, pause=delay, used=True)


def _pause_after(attempt: int) -> timedelta:
    # Doubled in a loop: 2 ** attempt can be more than a timedelta holds.
    pause = FIRST_PAUSE
    for _ in range(1, attempt):
        pause = min(pause * 2, LONGEST_PAUSE)
    return pause


def _give_up(session: Session, job: JobRow | None, part: PartRow, reason: str, *, now: datetime) -> None:
    failure = _exhausted(part, reason)
    if job is not None:
        _fail(session, job, part, failure, now=now)
        return
    # The video is not refused: that is for good, and here it would be for an outage of the machinery. The next job has
    # it probed again.
    _log.error("video %s was not probed: %s", part.video_id, failure.detail)
    leases.end(part, "failed", now=now)
    _fail_waiting_jobs(session, part.video_id, failure, now)


def _exhausted(part: PartRow, reason: str) -> Failure:
    return Failure(
        type="infrastructure",
        title="The service failed",
        detail=f"{job_flow.describe(part)} was tried {part.attempt} times; the last time: {reason}. "
        "Try once more; if that fails too, the service's operator finds the cause in the workers' log.",
    )


def _fail(session: Session, job: JobRow | None, part: PartRow, failure: Failure, *, now: datetime) -> None:
    """End a part that we hold as failed, and its job with it; or refuse the video that it probed."""
    leases.end(part, "failed", now=now)
    if job is None:
        _refuse_video(session, part.video_id, failure, now)
        return
    job_progress.record_stop(session, job, part, now=now)
    job_flow.fail_job(session, job, failure, now=now)


def _refuse_video(session: Session, video_id: str, failure: Failure, now: datetime) -> None:
    video = session.get_one(VideoRow, video_id)
    video.state, video.refusal = "refused", failure.model_dump()
    # An older version of the probe may have taken the file for something.
    video.source = None
    video.probe_version, video.probe_prefix = PROBE_VERSION, None
    _fail_waiting_jobs(session, video_id, failure, now)


def _fail_waiting_jobs(session: Session, video_id: str, failure: Failure, now: datetime) -> None:
    for job in job_flow.jobs_waiting_for_probe(session, video_id):
        job_flow.fail_job(session, job, failure, now=now)


def _end_cancelled(session: Session, job: JobRow, part: PartRow, now: datetime) -> None:
    leases.end(part, "cancelled", now=now)
    job_progress.record_stop(session, job, part, now=now)
    job_flow.cancel_when_idle(session, job, now=now)


def _lock_held(session: Session, claim: Claim) -> tuple[JobRow | None, PartRow]:
    """The claim's job (None for a probe) and part, ours until the end of the transaction. Raises LeaseLostError."""
    job = _lock_job(session, claim.job_id)
    if claim.job_id is None:
        _lock_video(session, claim.video_id)
    return job, leases.hold(session, claim.part_id, claim.token)


def _lock_job(session: Session, job_id: str | None) -> JobRow | None:
    """The job's row as it is now, ours until the end of the transaction. (SQLite has one lock for all.)"""
    if job_id is None:
        return None
    session.flush()
    return session.get(JobRow, job_id, with_for_update=True, populate_existing=True)


def _lock_video(session: Session, video_id: str) -> VideoRow | None:
    session.flush()
    return session.get(VideoRow, video_id, with_for_update=True, populate_existing=True)
