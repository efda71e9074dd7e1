"""The demo's figures: checked, printed as tables, and written to report.json."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from demo.errors import DemoError
from demo.restoration import Restoration
from demo.source_frames import is_read_independently
from stdo.bundle.bundle import Bundle
from stdo.bundle.manifest import Manifest
from stdo.cli.bundle_tables import bytes_table, decibel, named_qualities, quality_table
from stdo.cli.progress_display import STAGE_TITLES
from stdo.service.resources import Job

LARGEST_DISAGREEMENT_DB = 0.01
_DONE_BEFORE_THE_JOB = {"start_service": "Start the service", "upload": "Upload the video"}
_DONE_AFTER_THE_JOB = {
    "fetch": "Fetch the bundle",
    "verify": "Check the hashes",
    "restore": "Restore and compare",
    "pictures": "Draw the pictures",
}


@dataclass(kw_only=True)
class Stopwatch:
    """Seconds by what they were spent on."""

    seconds: dict[str, float] = field(default_factory=dict)
    start: float = field(default_factory=time.monotonic)

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        """Counts what happens inside."""
        start = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - start


@dataclass(frozen=True, kw_only=True)
class FigureCheck:
    """One figure of the manifest, measured again by the demo."""

    psnr_y_manifest: float | None
    psnr_y_measured: float | None
    source_decoder: str

    @property
    def sentence(self) -> str:
        """For a person."""
        return (
            f"Measured again on the restored frames, against the source as {self.source_decoder} reads it: "
            f"{decibel(self.psnr_y_measured)} dB Y-PSNR; the manifest says {decibel(self.psnr_y_manifest)} dB."
        )


def check_figures(manifest: Manifest, restoration: Restoration) -> FigureCheck:
    """Compare the manifest's Y-PSNR with the demo's own. Raises DemoError where they differ."""
    assert manifest.quality is not None
    promised, measured = manifest.quality.restored.psnr_y, restoration.luma_psnr
    check = FigureCheck(
        psnr_y_manifest=promised,
        psnr_y_measured=measured,
        source_decoder="PyAV" if is_read_independently(manifest) else "the encoder's own normalisation",
    )
    if restoration.frame_count != manifest.picture.frame_count:
        raise DemoError(f"Restored {restoration.frame_count} frames of {manifest.picture.frame_count}.")
    if not _agree(promised, measured):
        raise DemoError(f"The bundle's figures are wrong. {check.sentence}")
    return check


def _agree(promised: float | None, measured: float | None) -> bool:
    if promised is None or measured is None:
        return promised is measured
    return abs(promised - measured) <= LARGEST_DISAGREEMENT_DB


def all_seconds(job: Job, watch: Stopwatch) -> dict[str, float]:
    """The service's stages and what the demo does itself, in seconds."""
    own = {name: seconds for name, seconds in watch.seconds.items() if name != "job"}
    total = time.monotonic() - watch.start
    every = {**own, **job.stage_seconds, "job": watch.seconds["job"], "total": total}
    return {name: round(seconds, 3) for name, seconds in every.items()}


def write_report(
    path: Path, bundle: Bundle, job: Job, *, video: Path, seconds: Mapping[str, float], check: FigureCheck
) -> None:
    """report.json"""
    manifest = bundle.manifest
    assert manifest.quality is not None
    assert manifest.provenance is not None
    byte_counts = manifest.byte_counts(len(bundle.manifest_bytes))
    duration_seconds = manifest.picture.duration_seconds
    report = {
        "video": video.name,
        "job": job.id,
        "quality": {name: figures.model_dump() for name, figures in named_qualities(manifest.quality).items()},
        "bytes": byte_counts,
        "kbit_per_second": {part: round(count * 8 / 1000 / duration_seconds, 2) for part, count in byte_counts.items()},
        "seconds": seconds,
        "settings": job.settings,
        "preset": job.preset,
        "check": asdict(check),
        "picture": manifest.picture.model_dump(mode="json"),
        "device": manifest.provenance.device,
        "software": manifest.provenance.software,
    }
    path.write_text(json.dumps(report, indent=2) + "\n")


def print_tables(bundle: Bundle, *, seconds: Mapping[str, float], console: Console) -> None:
    """Where the time went, what is delivered, and how good it is."""
    manifest = bundle.manifest
    times = Table("", title="Where the time went", title_justify="left")
    times.add_column("seconds", justify="right")
    for name, title in (*_DONE_BEFORE_THE_JOB.items(), *STAGE_TITLES.items(), *_DONE_AFTER_THE_JOB.items()):
        if name in seconds:
            times.add_row(title, f"{seconds[name]:.1f}")
    times.add_section()
    times.add_row("All of it", f"{seconds['total']:.1f}")
    for table in (times, bytes_table(manifest, manifest.byte_counts(len(bundle.manifest_bytes)))):
        console.print(table)
    assert manifest.quality is not None
    console.print(quality_table(manifest.quality))
