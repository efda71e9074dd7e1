"""The named recipes."""

from __future__ import annotations

from fastapi import APIRouter

from app.common_problems import COMMON_PROBLEMS
from app.documentation import answer
from app.examples import PRESETS
from stdo.resources import Page, Preset

router = APIRouter(prefix="/presets", tags=["presets"], responses=COMMON_PROBLEMS)


@router.get(
    "",
    summary="List the presets",
    operation_id="list_presets",
    responses={200: answer("Every preset.")},
)
def list_presets() -> Page[Preset]:
    """Every preset with all its settings. A job names one, and may change any of its settings."""
    return PRESETS
