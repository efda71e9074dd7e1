"""Fixtures for every test: the servers, started once when first needed, and the service in both of its settings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from core.settings import ENVIRONMENT_PREFIX
from tests import servers
from tests.clips import ClipMaker
from tests.deployments import (
    S3_BUCKET,
    Deployment,
    deployed_at,
    deployed_environment,
    embedded_environment,
    migrate_postgresql,
    migrated_sqlite,
)

_valkey_databases = count()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(ENVIRONMENT_PREFIX)]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> ClipMaker:
    return ClipMaker(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[servers.ValkeyServer]:
    with servers.valkey() as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[servers.PostgresqlServer]:
    with servers.postgresql() as server:
        migrate_postgresql(server)
        yield server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[servers.S3Server]:
    with servers.s3() as server:
        server.create_bucket(S3_BUCKET)
        yield server


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return migrated_sqlite(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture
def valkey_database() -> int:
    """The number of a broker database that no other test uses."""
    return next(_valkey_databases) % servers.VALKEY_DATABASES


@pytest.fixture
def embedded_deployment(
    tmp_path: Path, sqlite_template: Path, valkey_server: servers.ValkeyServer, valkey_database: int
) -> Iterator[Deployment]:
    """SQLite, a folder, a broker of its own."""
    with deployed_at(embedded_environment(tmp_path, sqlite_template, valkey_server, valkey_database)) as deployment:
        yield deployment


@pytest.fixture
def deployed_deployment(
    tmp_path: Path,
    postgresql_server: servers.PostgresqlServer,
    s3_server: servers.S3Server,
    valkey_server: servers.ValkeyServer,
    valkey_database: int,
) -> Iterator[Deployment]:
    """PostgreSQL, S3, Redis."""
    environment = deployed_environment(tmp_path, postgresql_server, s3_server, valkey_server, valkey_database)
    with deployed_at(environment) as deployment:
        yield deployment


@pytest.fixture(params=["embedded", "deployed"])
def deployment(request: pytest.FixtureRequest) -> Deployment:
    """The service in each of its settings: the test runs once with either."""
    chosen: Deployment = request.getfixturevalue(f"{request.param}_deployment")
    return chosen
