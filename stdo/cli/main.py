"""The command `stdo`: talk to the service, and restore bundles. Each command is in one of three modules."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from stdo.cli import bundle_commands, restore_commands, service_commands
from stdo.cli.output import claim_standard_output

EXIT_CODES = """
Results go to standard output, progress and errors to standard error. --json makes both readable for programs.

Exit codes:
0    done
1    the job failed or was cancelled, or the bundle is damaged or can't be restored
2    wrong usage, or something that is not there
3    the service can't be reached, or failed
4    the service refused the request
130  interrupted
141  the reader of standard output went away
"""

app = typer.Typer(
    name="stdo",
    help=f"Encode videos into super-resolution bundles, and restore them.\n\n{EXIT_CODES}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    service_commands.encode,
    service_commands.jobs,
    service_commands.status,
    service_commands.cancel,
    service_commands.presets,
    service_commands.fetch,
    restore_commands.reconstruct,
    restore_commands.heatmap,
    bundle_commands.info,
    bundle_commands.verify,
    bundle_commands.strip,
):
    app.command()(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"stdo {version('stdo')}")
        raise typer.Exit


@app.callback()
def common(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of every command."""


def main() -> None:
    """The entry point."""
    claim_standard_output()
    app(prog_name="stdo")
