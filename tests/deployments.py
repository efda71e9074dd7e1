"""The service's two settings, real and private to one test: what `tests/conftest.py` hands out as `deployment`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celery import Celery
from pydantic import SecretStr

from core.database import Database, make_engine, migrate
from core.settings import ENVIRONMENT_PREFIX, Settings
from core.storage.object_store import ObjectStore, make_object_store
from core.tables import Base
from core.task_queue import make_celery, make_database
from tests.servers import PostgresqlServer, S3Server, ValkeyServer

POSTGRESQL_DATABASE = "stdo"
S3_BUCKET = "stdo-tests"


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A migrated, empty service. No process of it runs; tests start those that they need with `environment`."""

    settings: Settings
    environment: Mapping[str, str]
    """STDO_... variables that mean these settings, for a child process."""
    database: Database
    store: ObjectStore
    celery: Celery


def settings_of(environment: Mapping[str, str]) -> Settings:
    """The settings that a process with these STDO_... variables has."""
    fields: dict[str, Any] = {
        name.removeprefix(ENVIRONMENT_PREFIX).lower(): value for name, value in environment.items()
    }
    return Settings(**fields)


@contextmanager
def deployed_at(environment: Mapping[str, str]) -> Iterator[Deployment]:
    """A deployment whose servers are there, by its variables."""
    settings = settings_of(environment)
    celery = make_celery(settings)
    database = make_database(settings, celery)
    store = make_object_store(settings)
    try:
        yield Deployment(settings=settings, environment=environment, database=database, store=store, celery=celery)
    finally:
        database.close()
        celery.close()


def embedded_environment(folder: Path, template: Path, valkey: ValkeyServer, valkey_database: int) -> dict[str, str]:
    """A copy of a migrated SQLite file, and an empty folder."""
    data_dir = folder / "var"
    data_dir.mkdir()
    shutil.copyfile(template, data_dir / "stdo.sqlite3")
    return {
        "STDO_MODE": "embedded",
        "STDO_DATA_DIR": str(data_dir),
        "STDO_REDIS_URL": valkey.url(valkey_database),
    }


def deployed_environment(
    folder: Path, postgresql: PostgresqlServer, s3: S3Server, valkey: ValkeyServer, valkey_database: int
) -> dict[str, str]:
    """The PostgreSQL database without a row, and the bucket without an object."""
    empty_postgresql(postgresql)
    s3.empty_bucket(S3_BUCKET)
    return {
        "STDO_MODE": "deployed",
        "STDO_DATA_DIR": str(folder / "var"),
        "STDO_DATABASE_URL": postgresql.url(POSTGRESQL_DATABASE),
        "STDO_REDIS_URL": valkey.url(valkey_database),
        "STDO_S3_BUCKET": S3_BUCKET,
        "STDO_S3_ENDPOINT_URL": s3.endpoint_url,
        "STDO_S3_ACCESS_KEY_ID": s3.access_key_id,
        "STDO_S3_SECRET_ACCESS_KEY": s3.secret_access_key,
    }


def migrated_sqlite(folder: Path) -> Path:
    """A migrated SQLite file, to copy for each test."""
    settings = Settings(data_dir=folder)
    engine = make_engine(settings)
    migrate(engine)
    # Closing the last connection moves everything from the log into the file, which tests copy alone.
    engine.dispose()
    return folder / "stdo.sqlite3"


def migrate_postgresql(postgresql: PostgresqlServer) -> None:
    """A migrated PostgreSQL database. All tests use it in turn: to copy one for each would take most of their time."""
    postgresql.execute(f"CREATE DATABASE {POSTGRESQL_DATABASE}")
    engine = make_engine(Settings(database_url=SecretStr(postgresql.url(POSTGRESQL_DATABASE))))
    migrate(engine)
    engine.dispose()


def empty_postgresql(postgresql: PostgresqlServer) -> None:
    """Delete every row, and throw out whoever an earlier test may have left connected."""
    postgresql.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        f"WHERE datname = '{POSTGRESQL_DATABASE}' AND pid <> pg_backend_pid()"
    )
    for table in reversed(Base.metadata.sorted_tables):
        postgresql.execute(f"DELETE FROM {table.name}", database=POSTGRESQL_DATABASE)
