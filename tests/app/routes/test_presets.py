from __future__ import annotations

from core.presets import PRESETS, EncodingSettings
from tests.app.live import LiveApi


def test_every_preset_with_all_its_settings(embedded_api: LiveApi) -> None:
    page = embedded_api.client.get("/v1/presets").json()
    assert [preset["name"] for preset in page["items"]] == [recipe.name for recipe in PRESETS]
    for preset, recipe in zip(page["items"], PRESETS, strict=True):
        assert EncodingSettings.model_validate(preset["settings"]) == recipe.settings
        assert preset["summary"] == recipe.summary
