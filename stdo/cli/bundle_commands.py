"""The commands that look at a bundle or copy it, from a folder or from the URL of its manifest."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from stdo.bundle.bundle import Bundle, FileCheck
from stdo.bundle.manifest import strip_manifest
from stdo.bundle.manifest_reader import MANIFEST_NAME
from stdo.cli.bundle_place import BundleKey, BundlePlace, opened_bundle
from stdo.cli.bundle_tables import bytes_table, described, quality_table, rows_table
from stdo.cli.output import FAILED, UsageError, console, foreign_text, messages, print_json, told_errors
from stdo.cli.progress_display import progress_display
from stdo.cli.service_commands import AsJson
from stdo.decoder.inspection import Finding, inspect_bundle


def info(place: BundlePlace, api_key: BundleKey = None, as_json: AsJson = False) -> None:
    """Show what a bundle holds, weighs, and is worth; with --json, its manifest and byte counts."""
    with told_errors(as_json=as_json), opened_bundle(place, api_key) as bundle:
        manifest, byte_counts = bundle.manifest, bundle.manifest.byte_counts(len(bundle.manifest_bytes))
        if as_json:
            print_json({"bytes": byte_counts, "manifest": manifest.model_dump(mode="json")})
            return
        tables = [rows_table(described(manifest)), bytes_table(manifest, byte_counts)]
        if manifest.quality is not None:
            tables.append(quality_table(manifest.quality))
        for table in tables:
            console().print(table, "")


def verify(
    place: BundlePlace,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Open every network and decode every frame, too: are they what the manifest says?"),
    ] = False,
    api_key: BundleKey = None,
    as_json: AsJson = False,
) -> None:
    """Check the hash of every file of a bundle. Reports that a copy doesn't have are not missed."""
    with told_errors(as_json=as_json), opened_bundle(place, api_key) as bundle:
        checks = _checked_files(bundle, as_json=as_json)
        damaged = any(check.problem for check in checks)
        findings = _inspected(bundle, as_json=as_json) if deep and not damaged else []
        if as_json:
            print_json(_as_json(checks, findings))
        elif not damaged:
            console().print(f"All {len(checks)} files are as the manifest promises.")
            if deep and not findings:
                console().print("So are the networks and every frame.")
        if damaged or findings:
            raise typer.Exit(FAILED)


def strip(
    place: BundlePlace,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where to; a new folder.")],
    api_key: BundleKey = None,
    as_json: AsJson = False,
) -> None:
    """Copy what viewers need of a bundle: without source, quality figures and settings."""
    with told_errors(as_json=as_json), opened_bundle(place, api_key) as bundle:
        try:
            byte_count = _copy(bundle, output, quiet=as_json)
        except OSError as error:
            raise UsageError(f"{output} can't be used: {error.strerror}. Choose another folder.") from error
        if as_json:
            print_json({"folder": str(output), "bytes": byte_count})
        else:
            console().print(f"The copy is in {output}, {byte_count:,} bytes.", markup=False)


def _checked_files(bundle: Bundle, *, as_json: bool) -> list[FileCheck]:
    checks = []
    for check in bundle.verify():
        checks.append(check)
        if not as_json:
            mark = "[green]ok[/]     " if check.problem is None else "[bold red]damaged[/]"
            console().print(f"{mark} {check.file.path}", soft_wrap=True)
            if check.problem is not None:
                console().print(foreign_text(f"        {check.problem}"), soft_wrap=True)
    return checks


def _inspected(bundle: Bundle, *, as_json: bool) -> list[Finding]:
    total = bundle.manifest.picture.frame_count
    with progress_display(messages(quiet=as_json)) as display:
        findings = list(inspect_bundle(bundle, lambda done: display.row("Decode the frames", done, total, "frames")))
    if not as_json:
        for finding in findings:
            console().print(f"[bold red]wrong[/]   {finding.part}", soft_wrap=True)
            console().print(foreign_text(f"        {finding.problem}"), soft_wrap=True)
    return findings


def _as_json(checks: list[FileCheck], findings: list[Finding]) -> dict[str, object]:
    files = [
        {"path": check.file.path, "byte_count": check.file.byte_count, "problem": check.problem} for check in checks
    ]
    return {
        "ok": not findings and all(check.problem is None for check in checks),
        "files": files,
        "findings": [{"part": finding.part, "problem": finding.problem} for finding in findings],
    }


def _copy(bundle: Bundle, folder: Path, *, quiet: bool) -> int:
    """Copy the files, the manifest last; how many bytes there are."""
    files, manifest = bundle.manifest.delivered_files(), strip_manifest(bundle.manifest)
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} isn't empty. Choose a new folder.")
    with progress_display(messages(quiet=quiet)) as display:
        for number, file in enumerate(files, start=1):
            target = folder / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.path(file), target)
            display.row("Copy", number, len(files), "files")
    (folder / MANIFEST_NAME).write_bytes(manifest)
    return len(manifest) + sum(file.byte_count for file in files)
