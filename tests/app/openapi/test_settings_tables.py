from __future__ import annotations

import re

from app.http import problems
from app.openapi.settings_tables import DOCUMENT, encoding_table, renewed, variables_table
from core import errors
from core.encoding_settings import EncodingSettings
from core.errors import ErrorCategory, ServiceError
from core.settings import Settings

# What only a command, a worker or a check of readiness meets.
NOT_OVER_HTTP = {"api-key-not-found", "lease-lost", "broker-unavailable"}


def test_the_document_is_current() -> None:
    text = DOCUMENT.read_text()
    assert renewed(text) == text, "run python -m app.openapi.settings_tables"


def test_every_setting_is_there_and_described() -> None:
    def paths(value: object, prefix: str = "") -> list[str]:
        if not isinstance(value, dict):
            return [prefix.rstrip(".")]
        return [path for name, inner in value.items() for path in paths(inner, f"{prefix}{name}.")]

    rows = [line.split(" | ") for line in encoding_table().splitlines()[2:]]
    assert [row[0].strip("| `") for row in rows] == paths(EncodingSettings().model_dump())
    assert all(row[-1].strip("| ") for row in rows)


def test_every_variable_is_there_and_described() -> None:
    rows = [line.split(" | ") for line in variables_table().splitlines()[2:]]
    assert [row[0].strip("| `") for row in rows] == [f"STDO_{name.upper()}" for name in Settings.model_fields]
    assert all(row[-1].strip("| ") for row in rows)


def test_every_type_of_problem_is_documented() -> None:
    rows = re.findall(r"\| (\d+) \| `/problems/([a-z-]+)` \|", DOCUMENT.read_text())
    documented = {slug: int(status) for status, slug in rows}
    ours = {kind.slug: kind.status for kind in problems.PROBLEM_TYPES}
    theirs = {
        kind.slug: problems.STATUS_OF_CATEGORY[kind.category]
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, ServiceError) and hasattr(kind, "slug")
        # What is wrong inside the service is told as internal-error.
        if kind.category is not ErrorCategory.INTERNAL and kind.slug not in NOT_OVER_HTTP
    }
    assert documented == {**ours, **theirs}
