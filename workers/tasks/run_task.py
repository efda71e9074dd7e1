"""The tasks: claim a row, fetch files, run one step, keep its files, record how it ended. Nothing here computes.

No transaction is open while a step runs. Every write carries the claim's token, so that a task whose lease was lost
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
from core.jobs import job_states, leftovers
from core.jobs.bundles import bundle_prefix
from core.jobs.claims import Claim, Finished, Prepared, Probed, Result, Trained
from core.jobs.jobs import work_key
from core.jobs.progress import StageReport
from core.settings import Settings
from core.tables import TaskKind
from stdo.service.resources import Failure
from workers.sandbox.parent import StepCrashedError, StepFailedError
from workers.sandbox.part_spec import FinishStep, PreparedNetworks, PrepareStep, ProbeStep, TrainStep
from workers.sandbox.stop_signal import StoppedError, StopReason, StopSignal
from workers.source.probe import SourceInfo, SourceLimits
from workers.tasks.attempt import Attempt, Worker
from workers.tasks.checkpoint_upload import CheckpointKeeper
from workers.tasks.lease_keeper import LeaseKeeper
from workers.tasks.publishing import publish
from workers.tasks.scratch import scratch_folder
from workers.work_folder import WorkFolder

RECORD_AGAIN_SECONDS = 1.0
"""Between two tries to write down how a task ended."""

logger = logging.getLogger(__name__)


def run_task(worker: Worker, task_id: str) -> None:
    """Carry out a task, unless another worker has it or there is nothing left to do."""
    with worker.database.transaction() as session:
        claim = job_states.claim(session, task_id, now=utc_now(), lease=worker.settings.lease)
    if claim is None:
        logger.info("task %s is not to be done any more", task_id)
        return
    outcome = _attempt(worker, claim)
    logger.info("%s of task %s, attempt %d: %s", claim.kind, task_id, claim.attempt, _describe(outcome))
    try:
        _record(worker, claim, outcome)
    except LeaseLostError:
        logger.warning("the lease of task %s was lost: its end was not recorded", task_id)
    _tidy_up(worker, claim)


def probe_video(attempt: Attempt) -> Probed:
    """What is the uploaded file?"""
    source = attempt.fetch_source()
    settings = attempt.worker.settings
    attempt.run(ProbeStep(source=source, work=attempt.work, ffmpeg_path=settings.ffmpeg_path, limits=_limits(settings)))
    info = SourceInfo.model_validate_json(WorkFolder(root=attempt.work).source_info.read_bytes())
    return Probed(source=info.source)


def prepare_job(attempt: Attempt) -> Prepared:
    """Low-resolution stream, scores, and the plan of the networks."""
    settings = attempt.worker.settings
    attempt.run(
        PrepareStep(
            source=attempt.fetch_source(),
            work=attempt.work,
            settings=attempt.encoding,
            device=settings.device,
            ffmpeg_path=settings.ffmpeg_path,
            limits=_limits(settings),
        )
    )
    attempt.store_outputs()
    return Prepared(network_count=PreparedNetworks.load(attempt.work).network_count)


def train_network(attempt: Attempt) -> Trained:
    """One network, resumed from its last checkpoint where there is one."""
    settings, index = attempt.worker.settings, attempt.claim.network_number
    assert index is not None
    inputs = attempt.fetch_outputs_of_earlier_tasks()
    checkpoint = WorkFolder(root=attempt.work).checkpoint(index)
    key = work_key(attempt.job_id, checkpoint.name)
    attempt.fetch_checkpoint(key, checkpoint)
    spec = TrainStep(
        source=attempt.fetch_source(),
        work=attempt.work,
        settings=attempt.encoding,
        device=settings.device,
        ffmpeg_path=settings.ffmpeg_path,
        network_number=index,
    )
    with CheckpointKeeper(attempt.worker.store, key, checkpoint, attempt.stop):
        attempt.run(spec)
    attempt.store_outputs(besides={*inputs, checkpoint.name})
    return Trained()


def finish_job(attempt: Attempt) -> Finished:
    """The bundle: assembled, measured, published."""
    claim, settings = attempt.claim, attempt.worker.settings
    assert claim.job_created_at is not None
    attempt.fetch_outputs_of_earlier_tasks()
    attempt.run(
        FinishStep(
            source=attempt.fetch_source(),
            work=attempt.work,
            settings=attempt.encoding,
            ffmpeg_path=settings.ffmpeg_path,
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


WORK_OF_TASK: Mapping[TaskKind, Callable[[Attempt], Result]] = {
    "probe_video": probe_video,
    "prepare_job": prepare_job,
    "train_network": train_network,
    "finish_job": finish_job,
}


@dataclass(frozen=True, kw_only=True)
class _Failed:
    """A task that did not work."""

    failure: Failure
    infrastructure: bool
    """Whether the machinery is to blame, so that another attempt may work."""


_Outcome = Result | _Failed | StopReason


def _attempt(worker: Worker, claim: Claim) -> _Outcome:
    stop = StopSignal(worker.shutdown)
    keeper = LeaseKeeper(worker.database, claim, stop, interval_seconds=worker.settings.heartbeat_seconds)
    try:
        with keeper, scratch_folder(worker.tasks_folder) as folder:
            stop.check()
            attempt = Attempt(worker=worker, claim=claim, folder=folder, stop=stop, keeper=keeper)
            return WORK_OF_TASK[claim.kind](attempt)
    except StoppedError as stopped:
        return stopped.reason
    except StepFailedError as error:
        return _Failed(failure=error.failure, infrastructure=False)
    except StepCrashedError as error:
        return _Failed(failure=_trouble(str(error)), infrastructure=True)
    except Exception as error:
        # Whatever it was: the row must say so at once, and not only when the lease has run out.
        logger.exception("the task %s could not be carried out", claim.task_id)
        reason = (
            error.detail.rstrip(".") if isinstance(error, ServiceError) else f"{type(error).__name__} in the worker"
        )
        return _Failed(failure=_trouble(reason), infrastructure=True)


def _record(worker: Worker, claim: Claim, outcome: _Outcome) -> None:
    """Write down how a task ended. Raises LeaseLostError.

    A database that does not answer is asked again until the lease must have expired: up to hours of work would be lost
    to an outage of seconds.
    """
    give_up_at = time.monotonic() + claim.lease.total_seconds()
    while True:
        try:
            with worker.database.transaction() as session:
                _end(session, claim, outcome, max_attempts=worker.settings.max_attempts)
        except OperationalError:
            if time.monotonic() >= give_up_at:
                raise
            logger.warning("the end of task %s could not be recorded yet", claim.task_id, exc_info=True)
            time.sleep(RECORD_AGAIN_SECONDS)
        else:
            return


def _end(session: Session, claim: Claim, outcome: _Outcome, *, max_attempts: int) -> None:
    now = utc_now()
    match outcome:
        case StopReason.LEASE_LOST:
            raise LeaseLostError(claim.task_id)
        case StopReason.CANCELLED:
            job_states.acknowledge_cancel(session, claim, now=now)
        case StopReason.SHUTDOWN:
            job_states.release(session, claim, now=now)
        case _Failed(failure=failure, infrastructure=infrastructure):
            job_states.fail(session, claim, failure, now=now, infrastructure=infrastructure, max_attempts=max_attempts)
        case _:
            job_states.succeed(session, claim, outcome, now=now)


def _tidy_up(worker: Worker, claim: Claim) -> None:
    """Delete what only unfinished jobs need, where the job has ended, be it under this task's hands."""
    if claim.job_id is None:
        return
    try:
        leftovers.remove(worker.database, worker.store, claim.job_id)
    except (ServiceError, OSError, SQLAlchemyError):
        logger.warning("the work files of job %s stay for the beat to remove", claim.job_id, exc_info=True)


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
