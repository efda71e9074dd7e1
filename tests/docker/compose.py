"""Reads docker-compose.yml and the Dockerfile as Docker would, as far as the tests need it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
COMPOSE_FILE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "docker" / "Dockerfile"
ENVIRONMENT_FILE = ROOT / ".env.example"
VARIABLE = re.compile(r"(?<!\$)\$\{(?P<name>\w+)(?:(?P<operator>:\?|:-)(?P<rest>[^}]*))?\}")


def variables_of_example() -> dict[str, str]:
    """What .env.example sets."""
    lines = ENVIRONMENT_FILE.read_text().splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def interpolated(text: str, variables: Mapping[str, str]) -> str:
    """The text with ${NAME}, ${NAME:?message} and ${NAME:-default} filled in, and $$ for a dollar."""

    def fill(match: re.Match[str]) -> str:
        value = variables.get(match["name"], "")
        if match["operator"] == ":?" and not value:
            raise KeyError(match["name"])
        return value or (match["rest"] if match["operator"] == ":-" else "")

    return VARIABLE.sub(fill, text).replace("$$", "$")


def load_services(variables: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The services of docker-compose.yml. Raises KeyError for a variable that has to be set and is not."""
    document = yaml.safe_load(interpolated(COMPOSE_FILE.read_text(), variables))
    services: dict[str, dict[str, Any]] = document["services"]
    return services


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One `FROM` of the Dockerfile."""

    name: str
    base: str
    instructions: tuple[tuple[str, str], ...]
    """Keyword and the rest of the line, continuation lines joined."""


def load_stages() -> dict[str, Stage]:
    """The Dockerfile's stages by name."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    stages: dict[str, Stage] = {}
    for line in filter(None, (line.strip() for line in text.splitlines())):
        keyword, rest = line.split(maxsplit=1)
        if keyword == "FROM":
            base, _, name = rest.split()
            stages[name] = Stage(name=name, base=base, instructions=())
        elif stages:
            last = stages.popitem()[1]
            instructions = (*last.instructions, (keyword, rest))
            stages[last.name] = Stage(name=last.name, base=last.base, instructions=instructions)
    return stages


def copies_of(stage: Stage, stages: Mapping[str, Stage]) -> list[tuple[tuple[Path, ...], str]]:
    """Sources and target of each COPY of a stage and its bases, in order."""
    earlier = copies_of(stages[stage.base], stages) if stage.base in stages else []
    own = [shlex.split(rest) for keyword, rest in stage.instructions if keyword == "COPY"]
    return earlier + [(tuple(ROOT / source for source in words[:-1]), words[-1]) for words in own]
