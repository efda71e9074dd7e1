"""The named presets."""

from __future__ import annotations

from fastapi import APIRouter

from app.openapi.documentation import answer
from app.openapi.shared_parts import COMMON_PROBLEMS
from core.presets import PRESETS
from stdo.service.resources import Page, Preset

router = APIRouter(prefix="/presets", tags=["presets"], responses=COMMON_PROBLEMS)


@router.get(
    "",
    summary="List the presets",
    operation_id="list_presets",
    responses={200: answer("Every preset.")},
)
def list_presets() -> Page[Preset]:
    """Every preset with all its settings. A job names one, and may change any of its settings."""
    return Page[Preset](
        items=tuple(
            Preset(name=preset.name, summary=preset.summary, settings=preset.settings.model_dump(mode="json"))
            for preset in PRESETS
        ),
        next_cursor=None,
    )
