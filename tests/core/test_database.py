from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from core import videos
from core.clock import utc_now
from core.database import Database, migrate
from core.errors import DatabaseUnavailableError
from core.outbox import TaskMessage
from core.tables import Base
from tests.deployments import Deployment


class Boom(Exception):
    pass


def test_the_migrations_build_the_tables(deployment: Deployment) -> None:
    with deployment.database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True, "render_as_batch": True}
        )
        assert compare_metadata(context, Base.metadata) == []
