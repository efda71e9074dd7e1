from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stdo.bundles import write_small_bundle
from tests.stdo.service.both_clients import OpenClient, blocking, on_asyncio
from tests.stdo.service.scripted_service import (
    ScriptedService,
)

_BUNDLE = "/v1/jobs/j1/bundle"


@pytest.fixture(params=[blocking, on_asyncio], ids=["blocking", "asyncio"])
def open_client(request: pytest.FixtureRequest) -> OpenClient:
    opener: OpenClient = request.param
    return opener


@pytest.fixture
def client(service: ScriptedService, open_client: OpenClient) -> Iterator[Any]:
    with open_client(service.url, patience_seconds=5.0) as opened:
        yield opened


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "a clip.mp4"
    path.write_bytes(bytes(range(256)) * 1000)
    return path


@pytest.fixture(scope="module")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_bundle(tmp_path_factory.mktemp("bundle"))
