"""Where a command's bundle lies: a folder, or a URL with its key."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import httpx
import typer

from stdo.bundle.bundle import Bundle, open_bundle
from stdo.cli.service_commands import KEY_VARIABLE, URL_VARIABLE
from stdo.service.connection import authorization

BundlePlace = Annotated[str, typer.Argument(metavar="BUNDLE", help="The bundle's folder, or the URL of its manifest.")]
BundleKey = Annotated[
    str | None,
    typer.Option("--api-key", help=f"Where the URL asks for one. {KEY_VARIABLE} is sent to {URL_VARIABLE} alone."),
]


@contextmanager
def opened_bundle(place: str, api_key: str | None) -> Iterator[Bundle]:
    """The bundle, until the command is done. Raises as `open_bundle` does."""
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
