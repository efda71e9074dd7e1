"""Named presets: encoding settings that belong together, and how a job changes some of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from core.encoding_settings import (
    BaseStreamSettings,
    EncodingSettings,
    ExportSettings,
    PatchSettings,
    TrainingSettings,
)


class Preset(BaseModel):
    """Encoding settings with a name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    summary: str
    settings: EncodingSettings


PRESETS: tuple[Preset, ...] = (
    Preset(
        name="fast",
        summary="Minutes on two CPU cores: four ESPCN networks, warm-started.",
        settings=EncodingSettings(training=TrainingSettings(steps=4000, batch_size=4, learning_rate=5e-4)),
    ),
    Preset(
        name="balanced",
        summary="The default: small WDSR networks, warm-started; for a GPU, or patience.",
        settings=EncodingSettings(
            general_network="wdsr-small",
            training=TrainingSettings(architecture="wdsr-small", steps=20_000),
        ),
    ),
    Preset(
        name="quality",
        summary="Longer training of the small WDSR networks, for a GPU.",
        settings=EncodingSettings(
            general_network="wdsr-small",
            base_stream=BaseStreamSettings(speed="slow"),
            training=TrainingSettings(architecture="wdsr-small", steps=100_000, batch_size=32),
        ),
    ),
    Preset(
        name="paper",
        summary="The paper's setting: lossless base stream, no halo, full WDSR from scratch, fp32. Large bundles.",
        settings=EncodingSettings(
            general_network="wdsr-small",
            base_stream=BaseStreamSettings(lossless=True),
            patches=PatchSettings(halo=0),
            training=TrainingSettings(architecture="wdsr", start="scratch", steps=280_000),
            export=ExportSettings(precision="fp32"),
        ),
    ),
)


class UnknownPresetError(ValueError):
    """No preset has this name."""


def find_preset(name: str) -> Preset:
    """The preset called `name`. Raises UnknownPresetError."""
    for preset in PRESETS:
        if preset.name == name:
            return preset
    raise UnknownPresetError(f"there is no preset {name!r}; choose one of {', '.join(p.name for p in PRESETS)}")


def resolve_settings(preset: str, overrides: Mapping[str, Any]) -> EncodingSettings:
    """A preset with some settings changed; `overrides` has the shape of EncodingSettings, as far as it goes.

    Raises:
        UnknownPresetError: no preset has this name.
        pydantic.ValidationError: a setting is unknown, out of range, or contradicts another.
    """
    # Without what the preset leaves at its default, so that a default contradicts nothing.
    base = find_preset(preset).settings.model_dump(exclude_unset=True)
    return EncodingSettings.model_validate(_merge(base, overrides))


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        inner = merged.get(key)
        merged[key] = _merge(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return merged
