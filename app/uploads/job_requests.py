"""What a caller asks a job to be: a preset, and settings that differ from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import Request

from app.http.error_handlers import invalid_fields, plain_message
from app.http.problems import UNSUPPORTED_MEDIA_TYPE, ProblemError, invalid_field
from core.encoding_settings import EncodingSettings
from core.presets import PRESETS, UnknownPresetError, resolve_settings
from stdo.service.resources import FieldError

DEFAULT_PRESET = "balanced"


class JobRequest(BaseModel):
    """What a new job is to do."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"preset": "fast", "settings": {"scale": 2, "training": {"steps": 2000}}}]},
    )

    preset: str = Field(
        default=DEFAULT_PRESET,
        description="Name of a preset; GET /v1/presets lists them.",
        json_schema_extra={"enum": [preset.name for preset in PRESETS]},
    )
    settings: dict[str, Any] = Field(
        default_factory=dict,
        description="Settings that differ from the preset's; as many or as few as you like.",
    )


def require_json(request: Request) -> None:
    """Raise ProblemError for a body that does not say that it is JSON."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise ProblemError(UNSUPPORTED_MEDIA_TYPE, "Send the body as application/json.")


def resolve(preset: str, overrides: Mapping[str, Any]) -> EncodingSettings:
    """Every setting of the job. Raises ProblemError, which names each field that is wrong."""
    try:
        return resolve_settings(preset, overrides)
    except UnknownPresetError as error:
        raise invalid_field("preset", str(error)) from None
    except ValidationError as error:
        items = error.errors(include_url=False, include_context=False, include_input=False)
        raise invalid_fields(tuple(_settings_error(item) for item in items)) from None


def _settings_error(item: ErrorDetails) -> FieldError:
    location = item["loc"]
    message = _unknown_setting(location) if item["type"] == "extra_forbidden" else plain_message(item["msg"])
    return FieldError(field=".".join(str(part) for part in ("settings", *location)), message=message)


def _unknown_setting(location: tuple[str | int, ...]) -> str:
    model: type[BaseModel] = EncodingSettings
    for name in location[:-1]:
        inner = model.model_fields[str(name)].annotation
        assert isinstance(inner, type)
        assert issubclass(inner, BaseModel)
        model = inner
    close = get_close_matches(str(location[-1]), model.model_fields, n=1)
    return f"no such setting; {f'did you mean {close[0]}?' if close else 'known are ' + ', '.join(model.model_fields)}"


def request_from_form(fields: Mapping[str, str]) -> JobRequest:
    """The request in a form's text fields. Raises ProblemError where `settings` is not a JSON object."""
    overrides = _json_object(fields["settings"]) if fields.get("settings") else {}
    return JobRequest(preset=fields.get("preset") or DEFAULT_PRESET, settings=overrides)


def check_early(fields: Mapping[str, str]) -> None:
    """Raise ProblemError for fields that nothing which may follow them can put right."""
    asked = request_from_form(fields)
    if fields.get("preset") or not any(_accepts(preset.name, asked.settings) for preset in PRESETS):
        resolve(asked.preset, asked.settings)


def _accepts(preset: str, overrides: Mapping[str, Any]) -> bool:
    try:
        resolve_settings(preset, overrides)
    except ValidationError:
        return False
    return True


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise invalid_field("settings", f"must be a JSON object: {error}") from None
    except (ValueError, RecursionError) as error:
        raise invalid_field("settings", f"must be a plain JSON object: {error}") from None
    if not isinstance(value, dict):
        raise invalid_field("settings", 'must be a JSON object, such as {"scale": 2}')
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
