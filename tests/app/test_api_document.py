"""docs/API.md says all that there is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from app.problems import PROBLEM_TYPES
from core.recipes import EncodingSettings
from core.settings import Settings, variable_name

DOCUMENT = (Path(__file__).parents[2] / "docs" / "API.md").read_text()


def setting_rows(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, object, str]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from setting_rows(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.default, field.description or ""


@pytest.mark.parametrize("row", list(setting_rows(EncodingSettings)), ids=lambda row: row[0])
def test_every_setting_of_a_job_with_its_default_and_meaning(row: tuple[str, object, str]) -> None:
    name, default, description = row
    (line,) = (line for line in DOCUMENT.splitlines() if line.startswith(f"| `{name}` |"))
    assert description
    assert line.endswith(f"| {description} |")
    assert f"| {'' if default is None else f'`{default}`'} |" in line


@pytest.mark.parametrize("field", Settings.model_fields)
def test_every_variable_of_the_service(field: str) -> None:
    assert f"| `{variable_name(field)}` |" in DOCUMENT


@pytest.mark.parametrize("problem", PROBLEM_TYPES, ids=lambda problem: problem.slug)
def test_every_problem_of_http(problem: object) -> None:
    assert f"| {problem.status} | `/problems/{problem.slug}` | {problem.title} |" in DOCUMENT  # type: ignore[attr-defined]
