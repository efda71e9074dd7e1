"""The bundle's quality/ folder: what was measured, for people. Nothing here is needed by a decoder.

report.json        figures of the whole video, and of each segment with measured frames
patch_errors.bin   the error of each patch of each measured frame (stdo.quality.patch_errors)
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stdo.bundle.bundle import Bundle
from stdo.bundle.manifest import FileEntry
from stdo.quality.patch_errors import PATCH_ERRORS_NAME, MeasuredSegment, encode_measured_segment
from workers.delivery.export import file_entry
from workers.delivery.measure import VARIANTS, Measurement

_REPORT_NAME = "quality/report.json"


@dataclass(frozen=True, kw_only=True)
class _SampledSegment:
    """A segment, and the places of its frames among the measured ones."""

    frames: range
    places: slice


def write_reports(folder: Path, bundle: Bundle, measurement: Measurement) -> tuple[FileEntry, ...]:
    """Write quality/ into the bundle's folder."""
    report, patch_errors = folder / _REPORT_NAME, folder / PATCH_ERRORS_NAME
    report.parent.mkdir(exist_ok=True)
    segments = list(_sampled_segments(bundle, measurement))
    report.write_text(json.dumps(_report(measurement, segments), indent=1))
    with patch_errors.open("wb") as file:
        file.writelines(_coded(measurement, segment) for segment in segments)
    return file_entry(folder, report), file_entry(folder, patch_errors)


def _sampled_segments(bundle: Bundle, measurement: Measurement) -> Iterator[_SampledSegment]:
    for segment in bundle.segments:
        frames = bundle.segment_frames(segment)
        start, end = measurement.frames.searchsorted([frames.start, frames.stop]).tolist()
        if start < end:
            yield _SampledSegment(frames=frames, places=slice(start, end))


def _report(measurement: Measurement, segments: list[_SampledSegment]) -> dict[str, Any]:
    return {
        "frames_measured": len(measurement.frames),
        "video": _figures(measurement, slice(None)),
        "precision_loss": measurement.precision_loss.model_dump(),
        "segments": [
            {
                "first_frame": segment.frames.start,
                "frame_count": len(segment.frames),
                "frames_measured": segment.places.stop - segment.places.start,
                **_figures(measurement, segment.places),
            }
            for segment in segments
        ],
    }


def _figures(measurement: Measurement, places: slice) -> dict[str, Any]:
    return {variant: measurement.quality(variant, places).model_dump() for variant in VARIANTS}


def _coded(measurement: Measurement, segment: _SampledSegment) -> bytes:
    return encode_measured_segment(
        MeasuredSegment(
            first_measured=segment.places.start,
            f0=measurement.f0_patches[segment.places],
            restored=measurement.restored_patches[segment.places],
        )
    )
