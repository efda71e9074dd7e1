"""The steps that need torch: the pipeline's parts, by the spec that a task has written."""

from __future__ import annotations

from workers import pipeline
from workers.progress import Progress
from workers.sandbox.part_spec import FinishStep, PreparedNetworks, PrepareStep, TrainStep
from workers.training.device import compute_exactly


def carry_out(spec: PrepareStep | TrainStep | FinishStep, report: Progress) -> None:
    """Run one part of the pipeline. Raises workers.errors.EncodingError."""
    compute_exactly()
    ffmpeg = spec.ffmpeg()
    match spec:
        case PrepareStep():
            plan = pipeline.prepare(
                spec.source,
                spec.settings,
                spec.work,
                device=spec.device,
                report=report,
                limits=spec.limits,
                ffmpeg=ffmpeg,
            )
            PreparedNetworks(network_count=plan.used_network_count).save(spec.work)
        case TrainStep():
            pipeline.train(
                spec.source,
                spec.settings,
                spec.work,
                spec.network_number,
                device=spec.device,
                report=report,
                ffmpeg=ffmpeg,
            )
        case FinishStep():
            pipeline.finish(
                spec.source,
                spec.settings,
                spec.work,
                bundle_id=spec.bundle_id,
                created_at=spec.created_at,
                report=report,
                ffmpeg=ffmpeg,
            )
