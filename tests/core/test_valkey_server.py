from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError

from core.valkey_server import prepare_valkey, valkey_url
from tests.servers import ValkeyServer


def test_the_server_asks_for_its_password(valkey_server: ValkeyServer) -> None:
    with Redis.from_url(valkey_server.url(0)) as client:
        assert client.ping()
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.config_get("appendfsync") == {"appendfsync": "everysec"}
        assert client.config_get("bind") == {"bind": "127.0.0.1"}
    with (
        Redis.from_url(valkey_url(port=valkey_server.port, password="wrong")) as client,
        pytest.raises(AuthenticationError),
    ):
        client.ping()


def test_the_password_is_for_us_alone(tmp_path: Path) -> None:
    folder = tmp_path / 'a "quoted" foldér'
    for password in ("first-secret", "second-secret"):
        program, configuration = prepare_valkey(folder, port=6000, password=password)
        assert password not in program + configuration
        text = Path(configuration).read_text()
        assert f"requirepass {password}" in text
        assert f"dir {json.dumps(str(folder), ensure_ascii=False)}" in text
        assert stat.S_IMODE(Path(configuration).stat().st_mode) == 0o600
    assert "first-secret" not in text
