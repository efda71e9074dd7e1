"""What the API works with: settings, database, object store and broker, made once for each process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from anyio import CapacityLimiter
from celery import Celery

from core.database import Database
from core.settings import Settings
from core.storage.object_store import ObjectStore, make_object_store
from core.task_queue import make_celery, make_database

MOST_CHECKS = 24


@dataclass(frozen=True, kw_only=True)
class Services:
    """Everything that a route may use. Nothing connects before it is first used."""

    settings: Settings
    database: Database
    store: ObjectStore
    celery: Celery
    keys_required: bool
    """Whether callers have to show an API key."""
    check_limiter: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(MOST_CHECKS))
    """Threads that checks of readiness may hold: one that hangs keeps its thread until the system gives up on it."""

    @classmethod
    def from_settings(cls, settings: Settings, *, keys_required: bool) -> Self:
        """The services that the settings name. Raises SettingsError where something is missing."""
        celery = make_celery(settings)
        return cls(
            settings=settings,
            database=make_database(settings, celery),
            store=make_object_store(settings),
            celery=celery,
            keys_required=keys_required,
        )

    def close(self) -> None:
        """Give all connections back."""
        self.database.close()
        self.celery.close()
