"""The scripted service, started once; each test gets it as new."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stdo.service.scripted_service import ScriptedService, serving


@pytest.fixture(scope="session")
def scripted_server() -> Iterator[ScriptedService]:
    scripted = ScriptedService()
    with serving(scripted.app()) as url:
        scripted.url = url
        yield scripted


@pytest.fixture
def service(scripted_server: ScriptedService) -> ScriptedService:
    scripted_server.forget()
    return scripted_server
