"""The tasks: claim a part, fetch files, run it, keep its files, record how it ended. Nothing here computes.

No transaction is open while a part runs. Every write carries the claim's token, so that a part whose lease was lost
changes nothing any more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from core.clock import utc_now
from core.errors import LeaseLostError, ServiceError
from core.jobs import job_states, leases, leftovers
from core.jobs.claims import Claim, Finished, Made, PartResult, Planned, Probed
from core.jobs.part_kinds import chosen_queues
from core.jobs.progress import StageReport
from core.settings import Settings
from core.storage.keys import bundle_prefix, work_key
from core.tables import PartKind, QueueName
from stdo.errors import StdoError
from stdo.service.resources import Failure
from workers.sandbox.parent import PartCrashedError, PartFailedError
from workers.sandbox.part_spec import EncodePart, FinishPart, PlannedTrainings, PlanPart, ProbePart, TrainPart
from workers.sandbox.stop_signal import StoppedError, StopReason, StopSignal
from workers.source.probe import SourceInfo, SourceLimits
from workers.tasks.attempt import Attempt, Worker
from workers.tasks.checkpoint_upload import CheckpointKeeper
from workers.tasks.lease_keeper import LeaseKeeper
from workers.tasks.publishing import publish
from workers.tasks.scratch import scratch_folder
from workers.work_folder import WorkFolder

RECORD_AGAIN_SECONDS = 1.0
"""Between two tries to write down how a part ended."""

logger = logging.getLogger(__name__)


def run_first_in_line(worker: Worker, queue: QueueName) -> None:
    """Carry out the part of the oldest job that waits in a queue, if there is one.

    Not the part that a message names: in the order of the messages, all jobs would be encoded and planned before the
    first of them is trained, and all would end late.
    """
    while (part_id := _first_in_line(worker, queue)) is not None:
        if run_task(worker, part_id):
            return
    logger.info("nothing waits in the queue %s any more", queue)


def _first_in_line(worker: Worker, queue: QueueName) -> str | None:
    with worker.database.snapshot() as session:
        return leases.first_in_line(session, queue, now=utc_now())


def run_task(worker: Worker, part_id: str) -> bool:
    """Carry out a part, unless another worker has it or there is nothing left to do; whether it was ours."""
    with worker.database.transaction() as session:
        claim = job_states.claim(session, part_id, now=utc_now(), lease=worker.settings.lease)
    if claim is None:
        logger.info("part %s is not to be done any more", part_id)
        return False
    outcome = _attempt(worker, claim)
    logger.info("%s part %s, attempt %d: %s", claim.kind, part_id, claim.attempt, _describe(outcome))
    try:
        _record(worker, claim, outcome)
    except LeaseLostError:
        logger.warning("the lease of part %s was lost: its end was not recorded", part_id)
    _tidy_up(worker, claim)
    return True


def probe(attempt: Attempt) -> Probed:
    """What is the uploaded file?"""
    settings = attempt.worker.settings
    attempt.run(
        ProbePart(
            source=attempt.source,
            work=attempt.work,
            ffmpeg_path=settings.ffmpeg_path,
            limits=_limits(settings),
            source_sha256=attempt.claim.source_sha256,
        )
    )
    return Probed(source=SourceInfo.load(attempt.work).source)


def encode(attempt: Attempt) -> Made:
    """The base stream."""
    attempt.run(
        EncodePart(
            source=attempt.source,
            work=attempt.work,
            ffmpeg_path=attempt.worker.settings.ffmpeg_path,
            settings=attempt.encoding,
        )
    )
    return Made()


def plan(attempt: Attempt) -> Planned:
    """The patches' scores and groups, and the trainings that follow from them."""
    attempt.run(
        PlanPart(
            source=attempt.source,
            work=attempt.work,
            ffmpeg_path=attempt.worker.settings.ffmpeg_path,
            settings=attempt.encoding,
            device=attempt.device,
        )
    )
    return Planned(training_count=PlannedTrainings.load(attempt.work).training_count)


def train(attempt: Attempt) -> Made:
    """One training, resumed from its last checkpoint where there is one."""
    number = attempt.claim.training_number
    assert number is not None
    checkpoint = WorkFolder(root=attempt.work).checkpoint(number)
    key = work_key(attempt.job_id, checkpoint.name)
    attempt.fetch_checkpoint(key, checkpoint)
    spec = TrainPart(
        source=attempt.source,
        work=attempt.work,
        ffmpeg_path=attempt.worker.settings.ffmpeg_path,
        settings=attempt.encoding,
        device=attempt.device,
        training_number=number,
    )
    with CheckpointKeeper(attempt.worker.store, key, checkpoint, attempt.stop):
        attempt.run(spec)
    return Made()


def finish(attempt: Attempt) -> Finished:
    """The bundle: assembled, measured, published."""
    claim = attempt.claim
    assert claim.job_created_at is not None
    attempt.run(
        FinishPart(
            source=attempt.source,
            work=attempt.work,
            ffmpeg_path=attempt.worker.settings.ffmpeg_path,
            settings=attempt.encoding,
            device=attempt.device,
            bundle_id=attempt.job_id,
            created_at=claim.job_created_at,
        )
    )

    def report(report: StageReport) -> None:
        attempt.stop.check()
        attempt.keeper.report(report)

    prefix = bundle_prefix(attempt.job_id, claim.attempt)
    bundle = publish(WorkFolder(root=attempt.work).bundle, store=attempt.worker.store, prefix=prefix, report=report)
    return Finished(bundle=bundle)


WORK_OF_PART: Mapping[PartKind, Callable[[Attempt], PartResult]] = {
    "probe": probe,
    "encode": encode,
    "plan": plan,
    "train": train,
    "finish": finish,
}
"""What a worker does once the part's inputs are there. What the part makes is kept afterwards."""


@dataclass(frozen=True, kw_only=True)
class _Failed:
    """A part that did not work."""

    failure: Failure
    infrastructure: bool
    """Whether the machinery is to blame, so that another attempt may work."""


_Outcome = PartResult | _Failed | StopReason


def _attempt(worker: Worker, claim: Claim) -> _Outcome:
    stop = StopSignal(worker.shutdown)
    keeper = LeaseKeeper(worker.database, claim, stop, interval_seconds=worker.settings.heartbeat_seconds)
    try:
        with keeper, scratch_folder(worker.tasks_folder) as folder:
            stop.check()
            attempt = Attempt(worker=worker, claim=claim, folder=folder, stop=stop, keeper=keeper)
            attempt.fetch()
            result = WORK_OF_PART[claim.kind](attempt)
            attempt.store_outputs()
            return result
    except StoppedError as stopped:
        return stopped.reason
    except PartFailedError as error:
        return _Failed(failure=error.failure, infrastructure=False)
    except StdoError as error:
        # The checks of a reader, before anything was published. Another attempt would end the same way.
        logger.exception("the bundle of job %s is not published", claim.job_id)
        failure = Failure(type="invalid_bundle", title="The finished bundle breaks the format", detail=str(error))
        return _Failed(failure=failure, infrastructure=False)
    except PartCrashedError as error:
        return _Failed(failure=_trouble(str(error)), infrastructure=True)
    except Exception as error:
        # Whatever it was: the row must say so at once, and not only when the lease has run out.
        logger.exception("the part %s could not be carried out", claim.part_id)
        reason = (
            error.detail.rstrip(".") if isinstance(error, ServiceError) else f"{type(error).__name__} in the worker"
        )
        return _Failed(failure=_trouble(reason), infrastructure=True)


def _record(worker: Worker, claim: Claim, outcome: _Outcome) -> None:
    """Write down how a part ended. Raises LeaseLostError.

    A database that does not answer is asked again until the lease must have expired: up to hours of work would be lost
    to an outage of seconds.
    """
    give_up_at = time.monotonic() + claim.lease.total_seconds()
    while True:
        try:
            with worker.database.transaction() as session:
                _end(session, claim, outcome, worker.settings)
        except OperationalError:
            if time.monotonic() >= give_up_at:
                raise
            logger.warning("the end of part %s could not be recorded yet", claim.part_id, exc_info=True)
            time.sleep(RECORD_AGAIN_SECONDS)
        else:
            return


def _end(session: Session, claim: Claim, outcome: _Outcome, settings: Settings) -> None:
    now, max_attempts = utc_now(), settings.max_attempts
    match outcome:
        case StopReason.LEASE_LOST:
            raise LeaseLostError(claim.part_id)
        case StopReason.CANCELLED:
            job_states.acknowledge_cancel(session, claim, now=now)
        case StopReason.SHUTDOWN:
            job_states.release(session, claim, now=now)
        case _Failed(failure=failure, infrastructure=infrastructure):
            job_states.fail(session, claim, failure, now=now, infrastructure=infrastructure, max_attempts=max_attempts)
        case _:
            job_states.succeed(session, claim, outcome, now=now, queues=chosen_queues(settings))


def _tidy_up(worker: Worker, claim: Claim) -> None:
    """Delete what nobody needs any more, where the job has ended (be it with this part) or the video is gone."""
    try:
        if claim.job_id is None:
            leftovers.remove_of_deleted_video(worker.database, worker.store, claim.video_id)
        else:
            leftovers.remove(worker.database, worker.store, claim.job_id)
    except (ServiceError, OSError, SQLAlchemyError):
        # The beat removes what jobs leave behind.
        logger.warning("files of the %s part %s stay behind for now", claim.kind, claim.part_id, exc_info=True)


def _limits(settings: Settings) -> SourceLimits:
    return SourceLimits(
        max_duration_seconds=settings.max_duration_seconds,
        max_frames=settings.max_frames,
        max_pixels_per_frame=settings.max_pixels_per_frame,
        max_streams=settings.max_streams,
    )


def _trouble(detail: str) -> Failure:
    return Failure(type="infrastructure", title="The service could not do its work", detail=detail)


def _describe(outcome: _Outcome) -> str:
    return outcome.failure.detail if isinstance(outcome, _Failed) else str(getattr(outcome, "value", "succeeded"))
