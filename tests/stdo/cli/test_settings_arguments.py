from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stdo.cli.settings_arguments import SettingsArgumentError, build_settings


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("0.5", 0.5),
        ("true", True),
        ("null", None),
        ("hevc", "hevc"),
        ('"7"', "7"),
        ("[1, 0.5, 0]", [1, 0.5, 0]),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_values_are_json_or_else_text(text: str, value: Any) -> None:
    assert build_settings(assignments=[f"group.key={text}"]) == {"group": {"key": value}}


def test_later_ones_go_over_earlier_ones(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text('{"scale": 2, "method": "nas", "training": {"steps": 1, "batch_size": 2}}')
    settings = build_settings(
        file=file, scale=3, method="jstdo", assignments=["scale=4", "training.steps=9", "training.steps=10"]
    )
    assert settings == {"scale": 4, "method": "jstdo", "training": {"steps": 10, "batch_size": 2}}


@pytest.mark.parametrize("text", ["", "key", "=1", ".=1", "a.=1", "a..b=1"])
def test_pairs_that_are_none(text: str) -> None:
    with pytest.raises(SettingsArgumentError, match="write key=value"):
        build_settings(assignments=[text])


def test_files_that_are_none(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    for content, message in ((b"[1]", "no JSON object"), (b"{", "not JSON"), (b"\xff", "not JSON")):
        file.write_bytes(content)
        with pytest.raises(SettingsArgumentError, match=message):
            build_settings(file=file)
    with pytest.raises(SettingsArgumentError, match="can't be read"):
        build_settings(file=tmp_path)
