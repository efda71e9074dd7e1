"""`python -m demo`: what `make demo` runs."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from demo.errors import DemoError
from demo.run import Request, run_demo
from stdo.cli.settings_arguments import build_settings
from stdo.errors import StdoError

TERMINATED = 143


def main(
    video: Annotated[Path, typer.Option(help="The video to encode.")],
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("demo-output"),
    preset: Annotated[str, typer.Option(help="fast, balanced, quality or paper.")] = "fast",
    scale: Annotated[int | None, typer.Option(help="1, 2, 3 or 4.")] = None,
    method: Annotated[str | None, typer.Option(help="stdo, jstdo, nas or awdnn.")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting. Repeatable.")
    ] = None,
) -> None:
    """Encode a video with the service, fetch the bundle, restore the video, and compare it with the source."""
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGHUP, _end)
    try:
        settings = build_settings(method=method, scale=scale, assignments=assignments or ())
        run_demo(Request(video=video, output=output, preset=preset, settings=settings), Console(highlight=False))
    except (DemoError, StdoError) as error:
        Console(stderr=True, highlight=False).print(f"error: {error}", style="bold red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error


def _end(number: int, _: FrameType | None) -> None:
    """Unwinds, so that the service is stopped."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(TERMINATED)


if __name__ == "__main__":
    typer.run(main)
