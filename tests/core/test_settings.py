from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import SettingsError
from core.settings import REQUIRED_WHEN_DEPLOYED, load_settings, variable_name

COMPLETE = {
    "STDO_MODE": "deployed",
    "STDO_DATABASE_URL": "postgresql+psycopg://stdo:hunter2@db/stdo",
    "STDO_REDIS_URL": "redis://:hunter3@broker:6379/0",
    "STDO_S3_BUCKET": "bundles",
    "STDO_S3_ACCESS_KEY_ID": "hunter4",
    "STDO_S3_SECRET_ACCESS_KEY": "hunter5",
}


def use(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_nothing_set_is_embedded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert settings.mode == "embedded"
    assert settings.effective_database_url == f"sqlite:///{tmp_path}/var/stdo.sqlite3"
    assert settings.objects_dir == tmp_path / "var" / "objects"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SettingsError, match="STDO_REDIS_URL"):
        _ = settings.broker_url


def test_deployed_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, COMPLETE)
    settings = load_settings()
    assert settings.effective_database_url == COMPLETE["STDO_DATABASE_URL"]
    assert settings.broker_url == COMPLETE["STDO_REDIS_URL"]


def test_deployed_lists_everything_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"STDO_MODE": "deployed", "STDO_S3_BUCKET": "bundles", "STDO_REDIS_URL": ""})
    with pytest.raises(SettingsError) as raised:
        load_settings()
    for field in REQUIRED_WHEN_DEPLOYED:
        assert (variable_name(field) in raised.value.detail) == (field != "s3_bucket")


def test_every_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"STDO_MODE": "cloud", "STDO_LEASE_SECONDS": "-1", "STDO_MAX_ATTEMPTS": "many"})
    with pytest.raises(SettingsError) as raised:
        load_settings()
    for name in ("STDO_MODE", "STDO_LEASE_SECONDS", "STDO_MAX_ATTEMPTS"):
        assert name in raised.value.detail


def test_heartbeats_have_to_fit_the_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"STDO_LEASE_SECONDS": "30", "STDO_HEARTBEAT_SECONDS": "16"})
    with pytest.raises(SettingsError, match="STDO_HEARTBEAT_SECONDS must be at most half of STDO_LEASE_SECONDS"):
        load_settings()


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, COMPLETE)
    settings = load_settings()
    assert "hunter" not in repr(settings) + str(settings) + settings.model_dump_json()
    monkeypatch.setenv("STDO_LEASE_SECONDS", "x")
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert "hunter" not in raised.value.detail
