"""The commands that restore frames of a bundle, from a folder or from the URL of its manifest."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import onnxruntime
import typer

from stdo.bundle.bundle import Bundle
from stdo.cli.bundle_place import BundleKey, BundlePlace, opened_bundle
from stdo.cli.heatmap import draw_heatmap, read_measured_frame
from stdo.cli.output import UsageError, console, messages, print_json, told_errors
from stdo.cli.progress_display import ProgressDisplay, progress_display
from stdo.cli.service_commands import AsJson
from stdo.decoder.reconstruction import reconstruct as restored_frames
from stdo.decoder.restored_frame import RestoredFrame
from stdo.decoder.video_writer import write_mp4, write_png_frames, write_raw_yuv
from stdo.networks.codings import RunOptions

_FRAME_RANGE = re.compile("([0-9]{0,10}):([0-9]{0,10})")
Threads = Annotated[
    int, typer.Option("--threads", min=0, metavar="N", help="Processor threads of the networks; 0 is one a core.")
]
Providers = Annotated[
    str,
    typer.Option(
        "--providers",
        metavar="NAME,NAME",
        help="ONNX Runtime's execution providers, the preferred one first, such as cuda,cpu.",
    ),
]


def reconstruct(
    place: BundlePlace,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="OUTPUT",
            help="NAME.mp4; or a folder, ending in /, for PNG frames; or - for raw planes on standard output: yuv420p, "
            "or yuv420p10le for a picture of 10 bits.",
        ),
    ],
    frames: Annotated[
        str | None, typer.Option(metavar="A:B", help="Only the frames from A up to, not including, B; from 0.")
    ] = None,
    providers: Providers = "cpu",
    threads: Threads = 0,
    api_key: BundleKey = None,
    as_json: AsJson = False,
) -> None:
    """Restore a bundle's video: a playable MP4 with sound, PNG frames, or raw frames.

    A bundle behind a URL is restored while it comes, from the first segment on. Each segment is checked before it is
    used, so what is wrong with a later one shows after frames were written: an error and exit code 1 then tell that the
    PNG files or raw frames are not all. An MP4 appears under its name once it is whole.
    """
    with told_errors(as_json=as_json):
        if output == "-" and (as_json or sys.stdout.isatty()):
            raise UsageError("Raw frames need standard output for themselves: redirect it, and leave out --json.")
        run = RunOptions(threads=threads, providers=_provider_names(providers))
        start = time.monotonic()
        with opened_bundle(place, api_key) as bundle, progress_display(messages(quiet=as_json)) as display:
            chosen = None if frames is None else _frame_range(frames, bundle.manifest.picture.frame_count)
            count = _write(bundle, chosen, run, output, display)
        if as_json:
            print_json({"output": output, "frames": count, "seconds": round(time.monotonic() - start, 3)})


def heatmap(
    place: BundlePlace,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="NAME.png", help="The picture.")],
    frame: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="The measured frame at or before N; by default the one that gains most over f0."
        ),
    ] = None,
    api_key: BundleKey = None,
    as_json: AsJson = False,
) -> None:
    """Draw the PSNR of each patch of a frame, as f0 restores it and as the bundle does."""
    with told_errors(as_json=as_json), opened_bundle(place, api_key) as bundle:
        measured = read_measured_frame(bundle, frame)
        (restored,) = restored_frames(bundle, frames=(measured.number, measured.number + 1))
        try:
            draw_heatmap(restored, measured, bundle.layout).save(output, format="PNG")
        except OSError as error:
            raise UsageError(f"{output} can't be written: {error.strerror}. Choose another place.") from error
        if as_json:
            print_json({"output": str(output), "frame": measured.number})
        else:
            console().print(f"Frame {measured.number} is in {output}.", markup=False)


def _provider_names(text: str) -> tuple[str, ...]:
    """`cuda,cpu` as ONNX Runtime spells them. Its own spelling is understood, too."""
    known = {name.removesuffix("ExecutionProvider").lower(): name for name in onnxruntime.get_all_providers()}
    short = [name.strip().removesuffix("ExecutionProvider").lower() for name in text.split(",")]
    unknown = [name for name in short if name not in known]
    if unknown:
        raise UsageError(f"--providers {text}: {', '.join(unknown)} is none of {', '.join(sorted(known))}.")
    return tuple(known[name] for name in short)


def _frame_range(text: str, frame_count: int) -> tuple[int, int]:
    numbers = _FRAME_RANGE.fullmatch(text.strip())
    if numbers is None:
        raise UsageError(f"--frames {text}: write A:B, two frame numbers, as in 0:100; either may be left out.")
    first, end = numbers.groups()
    return int(first or 0), int(end or frame_count)


def _write(
    bundle: Bundle, chosen: tuple[int, int] | None, run: RunOptions, output: str, display: ProgressDisplay
) -> int:
    first, end = chosen or (0, bundle.manifest.picture.frame_count)
    frames = _shown(restored_frames(bundle, frames=chosen, run=run), end - first, display)
    if output == "-":
        return write_raw_yuv(frames, sys.stdout.buffer)
    path = Path(output)
    if output.endswith(("/", os.sep)) or path.is_dir():
        return write_png_frames(frames, path, first_number=first)
    if path.suffix.lower() != ".mp4":
        raise UsageError(f"{output}: give a name that ends in .mp4, a folder that ends in /, or - for raw frames.")
    return write_mp4(frames, path, bundle=bundle, part=chosen)


def _shown(frames: Iterable[RestoredFrame], total: int, display: ProgressDisplay) -> Iterator[RestoredFrame]:
    display.row("Restore", 0, total, "frames")
    for number, frame in enumerate(frames, start=1):
        yield frame
        display.row("Restore", number, total, "frames")
