"""The tables of settings in docs/API.md, from the types: `python -m app.openapi.settings_tables` renews them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic_core import to_jsonable_python

from core.encoding_settings import EncodingSettings
from core.settings import REQUIRED_WHEN_DEPLOYED, Settings, variable_name

DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs" / "API.md"

_BLOCK = "<!-- {name}: made by python -m app.openapi.settings_tables -->\n"
_END = "<!-- end -->"


def renewed(text: str) -> str:
    """The document with its tables as the types are now."""
    for name, table in (("encoding settings", encoding_table()), ("deployment variables", variables_table())):
        start = _BLOCK.format(name=name)
        pattern = re.compile(re.escape(start) + ".*?" + re.escape(_END), re.DOTALL)
        text, count = pattern.subn((start + table + _END).replace("\\", r"\\"), text)
        assert count == 1, f"{DOCUMENT.name} has no block {name!r}"
    return text


def encoding_table() -> str:
    """Every setting of a job: values, default, meaning."""
    schema = EncodingSettings.model_json_schema()
    rows = _rows(schema, schema["$defs"], prefix="")
    return _table(("setting", "values", "default", "meaning"), rows)


def _rows(schema: Mapping[str, Any], definitions: Mapping[str, Any], *, prefix: str) -> Iterator[tuple[str, ...]]:
    for name, field in schema["properties"].items():
        if "$ref" in field:
            yield from _rows(definitions[field["$ref"].rsplit("/", 1)[-1]], definitions, prefix=f"{prefix}{name}.")
            continue
        yield f"`{prefix}{name}`", _values(field), f"`{json.dumps(field['default'])}`", field["description"]


def _values(field: Mapping[str, Any]) -> str:
    """What a field of a JSON Schema takes, in words."""
    if "anyOf" in field:
        return " or ".join(_values(choice) for choice in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{json.dumps(value)}`" for value in field["enum"])
    if field["type"] == "array":
        return f"list of {_values(field['items'])}"
    limits = {
        "from": field.get("minimum"),
        "above": field.get("exclusiveMinimum"),
        "to": field.get("maximum"),
        "below": field.get("exclusiveMaximum"),
    }
    return " ".join([field["type"], *(f"{word} {value}" for word, value in limits.items() if value is not None)])


def variables_table() -> str:
    """Every environment variable of the service: default, meaning."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = "required when deployed" if name in REQUIRED_WHEN_DEPLOYED else _default(field.default)
        rows.append((f"`{variable_name(name)}`", default, field.description or ""))
    return _table(("variable", "default", "meaning"), rows)


def _default(value: object) -> str:
    return "" if value is None or isinstance(value, SecretStr) else f"`{to_jsonable_python(value)}`"


def _table(head: tuple[str, ...], rows: Any) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(cell.replace("\n", " ") for cell in line) + " |\n" for line in lines)


if __name__ == "__main__":
    DOCUMENT.write_text(renewed(DOCUMENT.read_text()))
