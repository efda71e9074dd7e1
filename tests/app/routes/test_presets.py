from __future__ import annotations

from core.encoding_settings import EncodingSettings
from core.presets import PRESETS
from tests.app.live import LiveApi


def test_every_preset_with_all_its_settings(embedded_api: LiveApi) -> None:
    page = embedded_api.client.get("/v1/presets").json()
    assert [item["name"] for item in page["items"]] == [preset.name for preset in PRESETS]
    for item, preset in zip(page["items"], PRESETS, strict=True):
        assert EncodingSettings.model_validate(item["settings"]) == preset.settings
        assert item["summary"] == preset.summary
