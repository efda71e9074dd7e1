from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from core.encoding_settings import METHODS, EncodingSettings
from core.presets import PRESETS, Preset, UnknownPresetError, find_preset, resolve_settings


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_every_preset_is_valid_with_every_method_and_scale(preset: Preset) -> None:
    for method in METHODS:
        for scale in (1, 2, 3, 4):
            settings = resolve_settings(preset.name, {"method": method, "scale": scale})
            assert settings.method == method
            assert settings.scale == scale


def test_the_presets_are_the_four_named_ones() -> None:
    assert [preset.name for preset in PRESETS] == ["fast", "balanced", "quality", "paper"]
    paper = find_preset("paper").settings
    assert (paper.base_stream.lossless, paper.patches.halo, paper.training.start) == (True, 0, "scratch")
    assert (paper.training.architecture, paper.export.precision) == ("wdsr", "fp32")


def test_overrides_change_what_they_name_and_nothing_else() -> None:
    base = find_preset("fast").settings
    settings = resolve_settings("fast", {"training": {"steps": 7}, "seed": 3})
    assert settings.training == base.training.model_copy(update={"steps": 7})
    assert settings == base.model_copy(update={"training": settings.training, "seed": 3})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"unknown": 1}, "unknown"),
        ({"training": {"step": 1}}, "training.step"),
        ({"scale": 5}, "scale"),
        ({"scale": True}, "a boolean is no number"),
        ({"base_stream": {"crf": 20, "bitrate_kbps": 500}}, "crf or bitrate_kbps, not both"),
        ({"base_stream": {"lossless": True, "crf": 10}}, "neither crf nor bitrate_kbps"),
        ({"base_stream": {"lossless": True, "codec": "av1"}}, "no lossless mode here: choose h264 or hevc"),
        ({"base_stream": {"codec": "vvc", "bit_depth": 8}}, "vvc is written with 10 bits alone"),
        ({"base_stream": {"crf": 60}}, "up to 51"),
        ({"hdr": "keep"}, "hdr keep needs ten bits"),
        ({"hdr": "keep", "base_stream": {"codec": "hevc", "bit_depth": 8}}, "hdr keep needs ten bits"),
        ({"training": {"architecture": "vdsr"}}, "vdsr has no general network"),
        ({"training": {"joint_patch_count": 100}}, "training.joint_patch_count belongs to the method jstdo"),
        ({"method": "jstdo", "training": {"split_over": 2}}, "training.split_over belongs to the method stdo or nas"),
        ({"method": "jstdo", "training": {"joint_shares": [1, 0]}}, "2 values for 4 groups"),
        ({"method": "jstdo", "training": {"joint_shares": [1, 0.2, 0.3, 0]}}, "does not increase"),
        ({"method": "jstdo", "training": {"joint_shares": [1, 0.5, 0.3, 0.1]}}, "ends with 0"),
    ],
)
def test_what_can_not_be_is_refused_with_its_reason(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        resolve_settings("fast", overrides)
    places = [".".join(map(str, error["loc"])) for error in caught.value.errors()]
    assert message in " ".join([*places, *(error["msg"] for error in caught.value.errors())])


def test_where_nothing_is_grouped_there_is_one_group() -> None:
    settings = resolve_settings("balanced", {"method": "awdnn"})
    assert settings.groups.count == 1
    # As they are kept with the job, and read again.
    assert EncodingSettings.model_validate(settings.model_dump(mode="json")) == settings
    assert resolve_settings("fast", {"method": "awdnn", "groups": {"count": 1}}).groups.count == 1
    with pytest.raises(ValidationError, match=r"awdnn has one group: leave groups\.count out"):
        resolve_settings("fast", {"method": "awdnn", "groups": {"count": 4}})


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(UnknownPresetError, match="'slow'; choose one of fast, balanced, quality, paper"):
        resolve_settings("slow", {})


@pytest.mark.parametrize(
    ("method", "groups", "sharing"),
    [("stdo", 3, "separate"), ("jstdo", 3, "joint"), ("nas", 3, "separate"), ("awdnn", 1, "separate")],
)
def test_a_method_is_a_partition_and_a_sharing(method: str, groups: int, sharing: str) -> None:
    settings = resolve_settings("fast", {"method": method, "groups": {"count": groups}})
    assert settings.group_count == groups
    assert settings.sharing == sharing
