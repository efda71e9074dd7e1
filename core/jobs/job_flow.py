"""Which part follows which, and what that means for the job: the only writer of `jobs.state`.

A part is queued once everything that it needs was made: by parts of its job that have succeeded, or by the probe of its
video. What the kinds of parts need and make is in `core.jobs.part_kinds`. Callers hold the rows of the jobs, and the
video's before them where they need both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.jobs import bundles, events, job_progress, leases
from core.jobs.claims import Finished, Input, PartResult, Planned
from core.jobs.part_kinds import JOB_PARTS, PART_KINDS, PROBE_VERSION, job_states_in_order
from core.storage.keys import probe_prefix, work_key
from core.tables import JobRow, PartKind, PartRow, QueueName, VideoRow
from stdo.service.resources import TERMINAL_JOB_STATES, Failure, JobState

ENDS_WITHOUT_SUCCESS: frozenset[JobState] = frozenset({"failed", "cancelled"})
_ORDER = job_states_in_order()
MOVES: Mapping[JobState, frozenset[JobState]] = {
    **{state: ENDS_WITHOUT_SUCCESS.union(_ORDER[place + 1 :]) for place, state in enumerate(_ORDER)},
    **{state: frozenset[JobState]() for state in TERMINAL_JOB_STATES},
}
"""Where a job may go from each state: forwards, or to its end. States that end a job never change."""

VIDEO_OUTPUTS = frozenset(name for each in PART_KINDS.values() if each.of == "video" for name in each.makes)


class InvalidMoveError(Exception):
    """A job was to go from one state to another that does not follow it: a defect of the service."""


def start(session: Session, job: JobRow, video: VideoRow, *, now: datetime) -> None:
    """Add a new job in state queued, with the parts that it begins with; and have its video probed, if need be."""
    job.state = "queued"
    session.add(job)
    session.flush()
    events.add_state_event(session, job, now=now)
    for definition in JOB_PARTS:
        if definition.added_by is None:
            leases.add_part(session, definition, tenant=job.tenant, video_id=job.video_id, job_id=job.id, now=now)
    if is_probed(video):
        job.probe_prefix = video.probe_prefix
    elif not leases.has_unfinished_probe(session, video.id):
        add_probe(session, video, now=now)
    _queue_ready(session, job, now=now)


def add_probe(session: Session, video: VideoRow, *, now: datetime) -> None:
    """Have a video probed."""
    part = leases.add_part(session, PART_KINDS["probe"], tenant=video.tenant, video_id=video.id, job_id=None, now=now)
    leases.queue_part(session, part, now=now)


def is_probed(video: VideoRow) -> bool:
    """Whether the newest version of the probe has read the video and found that it can be encoded."""
    return video.state == "ready" and not has_outdated_probe(video)


def has_outdated_probe(video: VideoRow) -> bool:
    """Whether what is known of the video is not what the newest version of the probe says, or nothing at all."""
    return video.probe_version is None or video.probe_version < PROBE_VERSION


def jobs_waiting_for_probe(session: Session, video_id: str) -> list[JobRow]:
    """The jobs that can't begin before their video was probed, ours until the end of the transaction."""
    statement = select(JobRow).where(
        JobRow.video_id == video_id, JobRow.probe_prefix.is_(None), JobRow.finished_at.is_(None)
    )
    statement = statement.order_by(JobRow.id).with_for_update().execution_options(populate_existing=True)
    return list(session.scalars(statement))


def begin(session: Session, job: JobRow, video: VideoRow, *, now: datetime) -> None:
    """Let a job go on that has waited for its video's probe."""
    job.probe_prefix = video.probe_prefix
    _queue_ready(session, job, now=now)


def record_claim(session: Session, job: JobRow, part: PartRow, *, now: datetime) -> None:
    """Write down that somebody works on a part."""
    if job.started_at is None:
        job.started_at = now
    state = PART_KINDS[part.kind].job_state
    assert state is not None
    if job.state != state:
        _move(session, job, state, now=now)
    elif part.attempt > 1:
        events.add_state_event(session, job, now=now, message=f"{describe(part)}: attempt {part.attempt}")


def record_success(
    session: Session,
    job: JobRow,
    part: PartRow,
    result: PartResult,
    *,
    queues: Mapping[PartKind, QueueName],
    now: datetime,
) -> None:
    """Write down what a part has brought, and let what follows it begin."""
    if isinstance(result, Planned):
        _add_parts_after(session, job, part.kind, result.training_count, queues, now)
    elif isinstance(result, Finished):
        bundles.add(session, job, result.bundle, now=now)
    parts = leases.parts_of_job(session, job.id)
    if all(each.state == "succeeded" for each in parts):
        _move(session, job, "succeeded", now=now)
    elif job.cancel_requested:
        cancel_when_idle(session, job, now=now)
    else:
        _queue_ready(session, job, now=now)


def _add_parts_after(
    session: Session,
    job: JobRow,
    kind: PartKind,
    training_count: int,
    queues: Mapping[PartKind, QueueName],
    now: datetime,
) -> None:
    """Add the parts that a result of this kind calls for."""
    for definition in JOB_PARTS:
        if definition.added_by != kind:
            continue
        trainings: Iterable[int | None] = range(training_count) if definition.each_training else (None,)
        for number in trainings:
            leases.add_part(
                session,
                definition,
                tenant=job.tenant,
                video_id=job.video_id,
                job_id=job.id,
                queue=queues.get(definition.kind),
                training_number=number,
                training_numbers=range(training_count),
                now=now,
            )


def _queue_ready(session: Session, job: JobRow, *, now: datetime) -> None:
    """Queue the parts that have all they need. A job that has begun takes on the state of what it waits for."""
    parts = leases.parts_of_job(session, job.id)
    made = {name for part in parts if part.state == "succeeded" for name in part.makes}
    if job.probe_prefix is not None:
        made |= VIDEO_OUTPUTS
    for part in parts:
        if part.state == "waiting" and made.issuperset(part.needs):
            leases.queue_part(session, part, now=now)
            state = PART_KINDS[part.kind].job_state
            assert state is not None
            if job.state not in ("queued", state):
                _move(session, job, state, now=now)


def inputs_of(session: Session, job: JobRow, part: PartRow) -> tuple[Input, ...]:
    """Where everything lies that a part needs, which was made by now."""
    places = dict.fromkeys(VIDEO_OUTPUTS, job.probe_prefix)
    for other in leases.parts_of_job(session, job.id):
        if other.state == "succeeded":
            places.update(dict.fromkeys(other.makes, output_prefix(other)))
    return tuple(Input(name=name, prefix=_known(places[name])) for name in part.needs)


def output_prefix(part: PartRow) -> str:
    """Where the files go that a part makes, in its present attempt.

    No two attempts use one at the same time: one that has lost its lease, but not noticed yet, can't spoil what is in
    use. (An attempt that was given back has ended; its number and its files go to the next.)
    """
    if part.job_id is None:
        return probe_prefix(part.video_id, part.id, part.attempt)
    number = "" if part.training_number is None else f"-{part.training_number}"
    return work_key(part.job_id, f"{part.kind}{number}-{part.attempt}/")


def _known(prefix: str | None) -> str:
    assert prefix is not None
    return prefix


def fail_job(session: Session, job: JobRow, failure: Failure, *, now: datetime) -> None:
    """End a job that can't succeed, with all its parts."""
    job.failure = failure.model_dump()
    job_progress.close_stages(job, leases.parts_of_job(session, job.id), now=now)
    leases.revoke(session, job.id, now=now)
    _move(session, job, "failed", now=now, message=failure.title)


def cancel_when_idle(session: Session, job: JobRow, *, now: datetime) -> None:
    """Cancel a job unless somebody still works on it."""
    if all(part.state != "running" for part in leases.parts_of_job(session, job.id)):
        leases.cancel_unclaimed(session, job.id, now=now)
        _move(session, job, "cancelled", now=now)


def _move(session: Session, job: JobRow, state: JobState, *, now: datetime, message: str | None = None) -> None:
    if state not in MOVES[job.state]:
        raise InvalidMoveError(f"job {job.id} can't go from {job.state} to {state}")
    job.state = state
    if state in TERMINAL_JOB_STATES:
        job_progress.show_nothing(job)
        job.finished_at = now
    if state == "succeeded":
        job.progress = 1.0
    events.add_state_event(session, job, now=now, message=message)


def describe(part: PartRow) -> str:
    """The part in a few words for people: `train 2`."""
    return part.kind if part.training_number is None else f"{part.kind} {part.training_number}"
