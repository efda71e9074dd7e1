"""Sessions and transactions: `Database.transaction()` is the only place that commits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core import outbox
from core.errors import DatabaseUnavailableError
from core.outbox import PartMessage
from core.settings import Settings

SQLITE_BUSY_TIMEOUT_SECONDS = 30
POSTGRESQL_CONNECT_TIMEOUT_SECONDS = 10
VERSION_TABLE = "alembic_version"
MIGRATIONS_FOLDER = Path(__file__).resolve().parent.parent / "migrations"

Sender = Callable[[PartMessage], None]


def make_engine(settings: Settings) -> Engine:
    """An engine for the settings' database, SQLite or PostgreSQL."""
    url = make_url(settings.effective_database_url)
    if url.get_backend_name() == "sqlite":
        if url.database and url.database != ":memory:":
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(url, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    return create_engine(url, pool_pre_ping=True, connect_args=_postgresql_arguments(settings))


def _postgresql_arguments(settings: Settings) -> dict[str, int]:
    # Without these, a query whose network is gone without a word waits for a quarter of an hour. A heartbeat that did
    # would lose its lease: it has to fail in time for another, over a new connection.
    silence_seconds = settings.lease_seconds / 4
    probe_seconds = max(1, int(silence_seconds / 3))
    return {
        "connect_timeout": POSTGRESQL_CONNECT_TIMEOUT_SECONDS,
        "tcp_user_timeout": int(silence_seconds * 1000),
        "keepalives": 1,
        "keepalives_idle": probe_seconds,
        "keepalives_interval": probe_seconds,
        "keepalives_count": 2,
    }


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver must not begin transactions on its own: _begin_sqlite does.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes the write lock at once. A transaction that reads first and writes later would fail with
    # "database is locked", whatever the busy timeout, if somebody else wrote in between.
    read_only = connection.get_execution_options().get("read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


class Database:
    """The database, and the messages that a committed transaction sends."""

    def __init__(self, engine: Engine, *, send: Sender) -> None:
        self.engine = engine
        self._reading = engine.execution_options(read_only=True)
        self._send = send

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session whose work is committed at the end of the block, or rolled back if the block raises.

        Messages left with `core.outbox` are sent once the commit has happened, and never without one.
        """
        with Session(self.engine, expire_on_commit=False) as session:
            with session.begin():
                yield session
            messages = outbox.take(session)
        for message in messages:
            self._send(message)

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """A session for reading alone: it never waits for a writer, and whatever it changes is dropped."""
        with Session(self._reading, expire_on_commit=False, autoflush=False) as session:
            yield session

    def check(self) -> None:
        """Ask the database whether it can be used. Raises DatabaseUnavailableError, also before the first migration."""
        try:
            with self._reading.connect() as connection:
                migrated = inspect(connection).has_table(VERSION_TABLE)
        except SQLAlchemyError as error:
            raise DatabaseUnavailableError(
                "The database does not answer; the service's log has the reason. Try again later."
            ) from error
        if not migrated:
            raise DatabaseUnavailableError("The database has no tables yet. Run `python -m app migrate`.")

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def migrate(engine: Engine) -> None:
    """Bring the database's schema to the newest version; does nothing where it is there already."""
    config = Config()
    # A % would begin an interpolation.
    config.set_main_option("script_location", str(MIGRATIONS_FOLDER).replace("%", "%%"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
