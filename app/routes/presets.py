"""The named recipes."""

from __future__ import annotations

from fastapi import APIRouter

from app.common_problems import COMMON_PROBLEMS
from app.documentation import example_of
from core.recipes import RECIPES
from stdo.resources import Page, Preset

router = APIRouter(prefix="/presets", tags=["presets"], responses=COMMON_PROBLEMS)


PRESETS = Page[Preset](
    items=tuple(
        Preset(name=recipe.name, summary=recipe.summary, settings=recipe.settings.model_dump(mode="json"))
        for recipe in RECIPES
    ),
    next_cursor=None,
)


@router.get(
    "",
    summary="List the presets",
    operation_id="list_presets",
    responses={200: example_of(PRESETS, "Every preset.")},
)
def list_presets() -> Page[Preset]:
    """Every preset with all its settings. A job names one, and may change any of its settings."""
    return PRESETS
