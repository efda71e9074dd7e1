"""Alembic's entry point, for core.database.migrate() and for Alembic's own command line."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from sqlalchemy import Connection

from core.database import make_engine
from core.settings import load_settings
from core.tables import Base, UtcDateTime


def render_type(kind: str, item: Any, _autogenerate: object) -> str | Literal[False]:
    """A migration stays as it was written, so it names SQLAlchemy's types and none of ours."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


def run(connection: Connection) -> None:
    """Run the migrations in the connection's transaction."""
    # SQLite can't alter a table in place: Alembic writes it anew ("batch").
    context.configure(
        connection=connection, target_metadata=Base.metadata, render_as_batch=True, render_item=render_type
    )
    with context.begin_transaction():
        context.run_migrations()


if context.config.attributes.get("connection") is not None:
    run(context.config.attributes["connection"])
else:
    with make_engine(load_settings()).begin() as own_connection:
        run(own_connection)
