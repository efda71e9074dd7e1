"""Encoding settings from a command line: a JSON file, shortcuts, and `key=value` pairs, each over the one before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stdo.errors import StdoError


class SettingsArgumentError(StdoError):
    """A setting on the command line can't be understood."""


def build_settings(
    *, file: Path | None = None, method: str | None = None, scale: int | None = None, assignments: Sequence[str] = ()
) -> dict[str, Any]:
    """The settings that change a preset's, in the shape that the service takes.

    Args:
        file: a JSON object.
        assignments: `training.steps=200`; the value is JSON, or a text where it is none.

    Raises:
        SettingsArgumentError: the file can't be read, or a pair has no key or goes below a plain value.
    """
    settings = {} if file is None else _read(file)
    shortcuts = {"method": method, "scale": scale}
    settings |= {key: value for key, value in shortcuts.items() if value is not None}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not all(key.split(".")):
            raise SettingsArgumentError(f"{assignment!r} is no setting: write key=value, as in training.steps=200.")
        _assign(settings, key, _value(value))
    return settings


def _read(file: Path) -> dict[str, Any]:
    try:
        settings = json.loads(file.read_bytes())
    except OSError as error:
        raise SettingsArgumentError(f"{file} can't be read: {error.strerror}.") from error
    except ValueError as error:
        raise SettingsArgumentError(f"{file} is not JSON: {error}.") from error
    if not isinstance(settings, dict):
        raise SettingsArgumentError(f'{file} holds no JSON object such as {{"scale": 2}}.')
    return settings


def _assign(settings: dict[str, Any], key: str, value: Any) -> None:
    *outer, name = key.split(".")
    branch = settings
    for part in outer:
        branch = branch.setdefault(part, {})
        if not isinstance(branch, dict):
            raise SettingsArgumentError(f"{key}: {part} has a value of its own, so nothing can be set below it.")
    branch[name] = value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
