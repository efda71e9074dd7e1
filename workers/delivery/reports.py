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
class _MeasuredPart:
    """A segment, and the places of its frames among the measured ones."""

    frames: range
    places: slice


def write_reports(folder: Path, bundle: Bundle, measurement: Measurement) -> tuple[FileEntry, ...]:
    """Write quality/ into the bundle's folder."""
    report, patch_errors = folder / _REPORT_NAME, folder / PATCH_ERRORS_NAME
    report.parent.mkdir(exist_ok=True)
    parts = list(_measured_parts(bundle, measurement))
    report.write_text(json.dumps(_report(measurement, parts), indent=1))
    with patch_errors.open("wb") as file:
        file.writelines(_coded(measurement, part) for part in parts)
    return file_entry(folder, report), file_entry(folder, patch_errors)


def _measured_parts(bundle: Bundle, measurement: Measurement) -> Iterator[_MeasuredPart]:
    for segment in bundle.segments:
        frames = bundle.segment_frames(segment)
        start, end = measurement.frames.searchsorted([frames.start, frames.stop]).tolist()
        if start < end:
            yield _MeasuredPart(frames=frames, places=slice(start, end))


def _report(measurement: Measurement, parts: list[_MeasuredPart]) -> dict[str, Any]:
    return {
        "frames_measured": len(measurement.frames),
        "video": _figures(measurement, slice(None)),
        "precision_loss": measurement.precision_loss.model_dump(),
        "segments": [
            {
                "first_frame": part.frames.start,
                "frame_count": len(part.frames),
                "frames_measured": part.places.stop - part.places.start,
                **_figures(measurement, part.places),
            }
            for part in parts
        ],
    }


def _figures(measurement: Measurement, places: slice) -> dict[str, Any]:
    return {variant: measurement.quality(variant, places).model_dump() for variant in VARIANTS}


def _coded(measurement: Measurement, part: _MeasuredPart) -> bytes:
    return encode_measured_segment(
        MeasuredSegment(
            first_measured=part.places.start,
            f0=measurement.f0_patches[part.places],
            restored=measurement.restored_patches[part.places],
        )
    )
