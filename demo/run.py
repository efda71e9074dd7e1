"""The demo from top to bottom: a video goes to the service over HTTP, a bundle comes back, the video is restored."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from demo.errors import DemoError
from demo.pictures import draw_comparison
from demo.report import Stopwatch, all_seconds, check_figures, print_tables, write_report
from demo.restoration import Comparison, Restoration, restore
from demo.service import DATA_DIR_PREFIX, embedded_service
from stdo.bundle.bundle import Bundle, open_bundle
from stdo.cli.heatmap import MeasuredFrame, draw_heatmap, read_measured_frame
from stdo.cli.progress_display import progress_display, show_job, show_transfer
from stdo.service.client import Client
from stdo.service.resources import Job


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to encode, and where the results go."""

    video: Path
    output: Path
    preset: str
    settings: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Results:
    """Where everything lies."""

    output: Path

    @property
    def bundle(self) -> Path:
        return self.output / "bundle"

    @property
    def restored(self) -> Path:
        return self.output / "restored.mp4"

    @property
    def comparison(self) -> Path:
        return self.output / "comparison.png"

    @property
    def heatmap(self) -> Path:
        return self.output / "heatmap.png"

    @property
    def report(self) -> Path:
        return self.output / "report.json"

    @property
    def service_log(self) -> Path:
        return self.output / "service.log"

    def described(self) -> dict[Path, str]:
        """Each with what it is."""
        return {
            self.restored: "the restored video",
            self.comparison: "source, bicubic and restored side by side",
            self.heatmap: "PSNR of each patch, under f0 and restored",
            self.report: "every figure",
            self.bundle: "the bundle; see `stdo info`",
            self.service_log: "the service's log",
        }


def run_demo(request: Request, console: Console) -> None:
    """Runs all of it.

    Raises:
        DemoError: the job failed, or a figure is not what the bundle says.
        StdoError: from the client library.
    """
    results, watch = Results(output=request.output), Stopwatch()
    _prepare(request.video, results)
    with ExitStack() as stack:
        with watch.timing("start_service"):
            url = stack.enter_context(embedded_service(results.service_log))
        console.print(f"The service runs at {url}; its log is {results.service_log}.")
        client = stack.enter_context(Client(url))
        job = _encode(client, request, watch, console)
        with watch.timing("fetch"), progress_display(console) as display:
            transfer = show_transfer(display, "Fetch the bundle")
            client.fetch(job.id, results.bundle, reports=True, on_progress=transfer)
    with open_bundle(results.bundle) as bundle:
        with watch.timing("verify"):
            file_count = _verify(bundle)
        console.print(f"The bundle is in {results.bundle}: the hashes of all {file_count} files are right.")
        # The frame that gains most over f0.
        measured = read_measured_frame(bundle, None)
        with watch.timing("restore"):
            restoration = _restore(bundle, request.video, results, measured.number, console)
        figure_check = check_figures(bundle.manifest, restoration)
        with watch.timing("pictures"):
            _draw(bundle, restoration.comparison, measured, results)
        seconds = all_seconds(job, watch)
        write_report(results.report, bundle, job, video=request.video, seconds=seconds, check=figure_check)
        print_tables(bundle, seconds=seconds, console=console)
    console.print(figure_check.sentence)
    console.print("\n".join(["", "Left behind:", *(f"  {path}: {what}" for path, what in results.described().items())]))


def _prepare(video: Path, results: Results) -> None:
    """What an earlier run left is removed, so that nothing old can be taken for a result of this one."""
    if not video.is_file():
        raise DemoError(f"There is no video {video}.")
    results.output.mkdir(parents=True, exist_ok=True)
    for data_dir in results.output.glob(f"{DATA_DIR_PREFIX}*"):
        # Its service may still be about to end.
        shutil.rmtree(data_dir, ignore_errors=True)
    for path in results.described():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _encode(client: Client, request: Request, watch: Stopwatch, console: Console) -> Job:
    with progress_display(console) as display:
        with watch.timing("upload"):
            upload = show_transfer(display, "Upload the video")
            job = client.encode(request.video, preset=request.preset, settings=request.settings, on_progress=upload)
        with watch.timing("job"):
            for report in client.iterate_progress(job.id):
                show_job(display, report)
    job = client.job(job.id)
    if job.failure is not None:
        raise DemoError(f"The job failed. {job.failure.title}: {job.failure.detail}")
    if job.state != "succeeded":
        raise DemoError(f"The job was {job.state}.")
    return job


def _verify(bundle: Bundle) -> int:
    """Hash every file; how many there are."""
    checks = list(bundle.verify())
    problems = [check.problem for check in checks if check.problem is not None]
    if problems:
        raise DemoError("The bundle is damaged. " + " ".join(problems))
    return len(checks) + 1


def _restore(bundle: Bundle, video: Path, results: Results, shown_frame: int, console: Console) -> Restoration:
    with progress_display(console) as display:
        return restore(
            bundle,
            video,
            results.restored,
            shown_frame=shown_frame,
            on_progress=lambda done, total: display.row("Restore the video", done, total, "frames"),
        )


def _draw(bundle: Bundle, comparison: Comparison, measured: MeasuredFrame, results: Results) -> None:
    draw_comparison(results.comparison, comparison)
    draw_heatmap(comparison.restored, measured, bundle.layout).save(results.heatmap, format="PNG")
