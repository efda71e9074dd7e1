"""The commands that talk to the service."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from stdo.cli.bundle_tables import decibel, rows_table
from stdo.cli.output import FAILED, UsageError, console, messages, print_json, told_errors
from stdo.cli.progress_display import STAGE_TITLES, format_seconds, progress_display, show_job, show_transfer
from stdo.cli.settings_arguments import build_settings
from stdo.service.client import Client
from stdo.service.resources import TERMINAL_JOB_STATES, Job, JobState

URL_VARIABLE = "STDO_URL"
KEY_VARIABLE = "STDO_API_KEY"
ServiceUrl = Annotated[
    str, typer.Argument(metavar="URL", envvar=URL_VARIABLE, help="The service, such as http://127.0.0.1:8000.")
]
FirstArgument = Annotated[
    str,
    typer.Argument(
        metavar="URL", help=f"The service, such as http://127.0.0.1:8000. Leave it out to use {URL_VARIABLE}."
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(envvar=KEY_VARIABLE, show_envvar=True, help="Where the service asks for one."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Results and errors as JSON, without progress.")]


def encode(
    url: FirstArgument,
    file: Annotated[str | None, typer.Argument(metavar="FILE", help="The video.", show_default=False)] = None,
    preset: Annotated[str | None, typer.Option(help="See `stdo presets`. The service's default is balanced.")] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, as in training.steps=200. Repeatable."),
    ] = None,
    settings_file: Annotated[
        Path | None, typer.Option("--settings", metavar="FILE.json", help="Settings to change, as a JSON object.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="stdo, jstdo, nas or awdnn.")] = None,
    scale: Annotated[int | None, typer.Option(help="1, 2, 3 or 4.")] = None,
    wait: Annotated[bool, typer.Option(help="Follow the job until it has ended.")] = True,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Upload a video and encode it."""
    with told_errors(as_json=as_json):
        service, name = _with_service(url, file, "FILE")
        settings = build_settings(file=settings_file, method=method, scale=scale, assignments=assignments or ())
        with Client(service, api_key=api_key) as client:
            job = _upload(client, Path(name), preset, settings, quiet=as_json)
            if wait:
                job = _follow(client, job, quiet=as_json)
        _show(job, as_json=as_json)
        if job.state in ("failed", "cancelled"):
            raise typer.Exit(FAILED)


def jobs(
    url: ServiceUrl,
    state: Annotated[JobState | None, typer.Option(help="Only jobs in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 20,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with told_errors(as_json=as_json), Client(url, api_key=api_key) as client:
        newest = [job for job, _ in zip(client.jobs(state=state), range(limit), strict=False)]
        if as_json:
            print_json([job.model_dump(mode="json") for job in newest])
            return
        table = Table("job", "state", "stage", "progress", "preset", "created", "video", box=None)
        for job in newest:
            created = f"{job.created_at.astimezone():%Y-%m-%d %H:%M}"
            progress = f"{job.progress:.0%}"
            table.add_row(job.id, job.state, job.stage or "", progress, job.preset, created, job.video_id)
        console().print(table)


def status(
    url: FirstArgument,
    job: Annotated[str | None, typer.Argument(metavar="JOB", show_default=False)] = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Show one job."""
    with told_errors(as_json=as_json):
        service, job_id = _with_service(url, job, "JOB")
        with Client(service, api_key=api_key) as client:
            found = client.job(job_id)
        _show(found, as_json=as_json)


def cancel(
    url: FirstArgument,
    job: Annotated[str | None, typer.Argument(metavar="JOB", show_default=False)] = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Stop a job."""
    with told_errors(as_json=as_json):
        service, job_id = _with_service(url, job, "JOB")
        with Client(service, api_key=api_key) as client:
            stopped = client.cancel(job_id)
        _show(stopped, as_json=as_json)


def presets(url: ServiceUrl, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """List the presets; with --json, all their settings."""
    with told_errors(as_json=as_json), Client(url, api_key=api_key) as client:
        found = client.presets()
        if as_json:
            print_json([preset.model_dump(mode="json") for preset in found])
            return
        table = Table("preset", "summary", box=None)
        for preset in found:
            table.add_row(preset.name, preset.summary)
        console().print(table)


def fetch(
    url: FirstArgument,
    job: Annotated[str | None, typer.Argument(metavar="JOB", show_default=False)] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="Where to; by default a folder named as the job."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Quality reports and error maps, too, which no decoder needs.")
    ] = False,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Download what a decoder needs of a job's bundle, and check every hash. What is there already is not fetched
    again."""
    with told_errors(as_json=as_json):
        service, job_id = _with_service(url, job, "JOB")
        with Client(service, api_key=api_key) as client, progress_display(messages(quiet=as_json)) as display:
            shown = show_transfer(display, "Fetch")
            folder = client.fetch(job_id, output or Path(job_id), reports=everything, on_progress=shown)
        if as_json:
            print_json({"job": job_id, "folder": str(folder)})
        else:
            console().print(f"The bundle is in {folder}, every hash checked.", markup=False)


def _upload(client: Client, path: Path, preset: str | None, settings: Mapping[str, Any], *, quiet: bool) -> Job:
    with progress_display(messages(quiet=quiet)) as display:
        return client.encode(path, preset=preset, settings=settings, on_progress=show_transfer(display, "Upload"))


def _follow(client: Client, job: Job, *, quiet: bool) -> Job:
    console = messages(quiet=quiet)
    console.print(f"Job {job.id}")
    try:
        with progress_display(console) as display:
            for report in client.iterate_progress(job.id):
                show_job(display, report)
    except KeyboardInterrupt:
        console.print(f"The job goes on. To stop it: stdo cancel URL {job.id}")
        raise
    return client.job(job.id)


def _show(job: Job, *, as_json: bool) -> None:
    if as_json:
        print_json(job.model_dump(mode="json"))
        return
    console().print(rows_table(_described(job)))


def _described(job: Job) -> dict[str, str]:
    rows = {
        "job": job.id,
        "video": job.video_id,
        "state": f"{job.state} (to be cancelled)" if job.cancel_requested and job.bundle is None else job.state,
        "preset": job.preset,
        "progress": f"{job.progress:.0%}",
    }
    if job.stage is not None and job.stage_progress is not None and job.state not in TERMINAL_JOB_STATES:
        progress = job.stage_progress
        rows["stage"] = f"{STAGE_TITLES[job.stage]}: {progress.done}/{progress.total} {progress.unit}"
    if job.eta_seconds is not None:
        rows["time left"] = format_seconds(job.eta_seconds)
    if job.failure is not None:
        rows["failure"] = f"{job.failure.title}: {job.failure.detail}"
    if job.bundle is not None:
        rows["manifest"] = job.bundle.manifest_url
        rows["bytes"] = ", ".join(f"{part} {count:,}" for part, count in job.bundle.bytes.items())
        rows["PSNR Y, dB"] = ", ".join(
            f"{name} {decibel(figures.get('psnr_y'))}" for name, figures in job.bundle.quality.items()
        )
    return rows


def _with_service(first: str, second: str | None, operand: str) -> tuple[str, str]:
    """The service's URL and the operand, where the URL may be left out."""
    if second is not None:
        return first, second
    service = os.environ.get(URL_VARIABLE)
    if not service:
        raise UsageError(f"Give the service's URL and then {operand}, or set {URL_VARIABLE}.")
    return service, first
