"""The commands that read a bundle, from a folder or from the URL of its manifest."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.table import Table
from rich.text import Text

from stdo.bundle.bundle import Bundle, open_bundle
from stdo.bundle.manifest import Manifest
from stdo.cli.bundle_tables import bytes_table, quality_table
from stdo.cli.output import FAILED, UsageError, console, messages, print_json, told_errors
from stdo.cli.progress_display import ProgressDisplay, progress_display
from stdo.cli.service_commands import KEY_VARIABLE, URL_VARIABLE, AsJson
from stdo.decoder.reconstruction import RestoredFrame
from stdo.decoder.reconstruction import reconstruct as restored_frames
from stdo.decoder.video_writer import write_mp4, write_png_frames, write_raw_yuv
from stdo.service.connection import authorization

BundlePlace = Annotated[str, typer.Argument(metavar="BUNDLE", help="The bundle's folder, or the URL of its manifest.")]
BundleKey = Annotated[
    str | None,
    typer.Option("--api-key", help=f"Where the URL asks for one. {KEY_VARIABLE} is sent to {URL_VARIABLE} alone."),
]


def reconstruct(
    place: BundlePlace,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="OUTPUT",
            help="NAME.mp4; or a folder, ending in /, for PNG frames; or - for raw yuv420p on standard output.",
        ),
    ],
    frames: Annotated[
        str | None, typer.Option(metavar="A:B", help="Only the frames from A up to, not including, B; from 0.")
    ] = None,
    api_key: BundleKey = None,
    as_json: AsJson = False,
) -> None:
    """Restore a bundle's video: a playable MP4 with sound, PNG frames, or raw frames."""
    with told_errors(as_json=as_json):
        if output == "-" and (as_json or sys.stdout.isatty()):
            raise UsageError("Raw frames need standard output for themselves: redirect it, and leave out --json.")
        start = time.monotonic()
        with _opened(place, api_key) as bundle, progress_display(messages(quiet=as_json)) as display:
            chosen = _frame_range(frames, bundle.manifest.picture.frame_count)
            count = _write(bundle, chosen, output, display, is_part=frames is not None)
        if as_json:
            print_json({"output": output, "frames": count, "seconds": round(time.monotonic() - start, 3)})


def verify(place: BundlePlace, api_key: BundleKey = None, as_json: AsJson = False) -> None:
    """Check the hash of every file of a bundle."""
    with told_errors(as_json=as_json), _opened(place, api_key) as bundle:
        files, damaged = [], 0
        for check in bundle.verify():
            files.append({"path": check.file.path, "byte_count": check.file.byte_count, "problem": check.problem})
            damaged += check.problem is not None
            if not as_json:
                mark = "[green]ok[/]     " if check.problem is None else "[bold red]damaged[/]"
                console().print(f"{mark} {check.file.path}", soft_wrap=True)
                if check.problem is not None:
                    console().print(f"        {check.problem}", markup=False, soft_wrap=True)
        if as_json:
            print_json({"ok": not damaged, "files": files})
        elif not damaged:
            console().print(f"All {len(files)} files are as the manifest promises.")
        if damaged:
            raise typer.Exit(FAILED)


def info(place: BundlePlace, api_key: BundleKey = None, as_json: AsJson = False) -> None:
    """Show what a bundle holds, weighs, and is worth; with --json, its manifest and byte counts."""
    with told_errors(as_json=as_json), _opened(place, api_key) as bundle:
        manifest, byte_counts = bundle.manifest, bundle.manifest.byte_counts(len(bundle.manifest_bytes))
        if as_json:
            print_json({"bytes": byte_counts, "manifest": manifest.model_dump(mode="json")})
            return
        table = Table(box=None, show_header=False)
        for name, value in _described(manifest).items():
            # As text: a manifest may hold what rich would take for markup.
            table.add_row(name, Text(value))
        for part in (table, "", bytes_table(manifest, byte_counts), "", quality_table(manifest.quality)):
            console().print(part)


@contextmanager
def _opened(place: str, api_key: str | None) -> Iterator[Bundle]:
    with (
        httpx.Client(timeout=30.0, headers=authorization(_key_for(place, api_key))) as http,
        open_bundle(place, http=http) as bundle,
    ):
        yield bundle


def _key_for(place: str, api_key: str | None) -> str | None:
    """The key from the environment belongs to one service: bundles of other places must not learn it."""
    service = os.environ.get(URL_VARIABLE)
    if api_key is None and service and place.startswith(f"{service.rstrip('/')}/"):
        return os.environ.get(KEY_VARIABLE)
    return api_key


def _frame_range(text: str | None, frame_count: int) -> range:
    first, colon, end = ("", ":", "") if text is None else text.strip().partition(":")
    if not colon or not all(part.isdecimal() for part in (first, end) if part):
        raise UsageError(f"--frames {text}: write A:B, two frame numbers, as in 0:100; either may be left out.")
    return range(int(first or 0), int(end or frame_count))


def _write(bundle: Bundle, chosen: range, output: str, display: ProgressDisplay, *, is_part: bool) -> int:
    picture = bundle.manifest.picture
    frames = _shown(restored_frames(bundle, frames=chosen), len(chosen), display)
    if output == "-":
        return write_raw_yuv(frames, sys.stdout.buffer)
    path = Path(output)
    if output.endswith(("/", os.sep)) or path.is_dir():
        return write_png_frames(frames, path, first_number=chosen.start)
    if path.suffix.lower() != ".mp4":
        raise UsageError(f"{output}: give a name that ends in .mp4, a folder that ends in /, or - for raw frames.")
    return write_mp4(frames, path, picture=picture, base_stream=bundle.path(bundle.manifest.base_stream), part=is_part)


def _shown(frames: Iterable[RestoredFrame], total: int, display: ProgressDisplay) -> Iterator[RestoredFrame]:
    display.step("Restore", 0, total, "frames")
    for number, frame in enumerate(frames, start=1):
        yield frame
        display.step("Restore", number, total, "frames")


def _described(manifest: Manifest) -> dict[str, str]:
    picture, grid, source = manifest.picture, manifest.patch_grid, manifest.source
    rate = picture.average_frame_rate
    network = manifest.networks[0]
    size = f"{picture.display_width}x{picture.display_height}"
    varying = ", variable frame rate" if picture.variable_frame_rate else ""
    return {
        "bundle": f"{manifest.bundle_id}, format {manifest.format_version}, {manifest.created_at:%Y-%m-%d %H:%M %Z}",
        "source": f"{source.video_codec} {source.pixel_format} in {source.container}, {source.byte_count:,} bytes",
        "normalised": ", ".join(one.code for one in source.input_normalisations) or "nothing",
        "picture": f"{size}, {picture.frame_count} frames at {rate.numerator / rate.denominator:.3f}/s{varying}",
        "stream": f"{manifest.base_stream.codec} {picture.base_width}x{picture.base_height} (x{picture.scale}), "
        f"sound: {manifest.base_stream.audio_codec or 'none'}",
        "networks": f"{len(manifest.networks)} {network.architecture}, {network.channels}, {network.precision}, "
        f"{network.parameter_count:,} parameters each",
        "patches": f"{grid.columns}x{grid.rows} of {grid.patch_width}x{grid.patch_height}, halo {grid.halo}",
        "method": f"{manifest.provenance.method}, trained on {manifest.provenance.device}",
    }
