from __future__ import annotations

from pathlib import Path
from threading import Event, Thread

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pydantic import SecretStr
from sqlalchemy import Engine, inspect
from sqlalchemy.exc import IntegrityError

from core import api_keys
from core import database as database_module
from core.callers import LOCAL_CALLER
from core.database import Database, make_engine, migrate
from core.errors import DatabaseUnavailableError
from core.jobs import leases, videos
from core.jobs.part_kinds import PART_KINDS
from core.outbox import PartMessage
from core.settings import Settings
from core.tables import Base
from tests.core.samples import NOON, new_video, part_id_of
from tests.deployments import Deployment
from tests.servers import PostgresqlServer


class InterruptedTestError(Exception):
    pass


class Recorder:
    """A sender that keeps what it is given, and looks whether the row is there by then."""

    def __init__(self, engine: Engine) -> None:
        self.database = Database(engine, send=self)
        self.sent: list[PartMessage] = []

    def __call__(self, message: PartMessage) -> None:
        with self.database.snapshot() as session:
            assert leases.count_queued(session, message.queue) > 0
        self.sent.append(message)


@pytest.fixture
def recorder(deployment: Deployment) -> Recorder:
    return Recorder(deployment.database.engine)


class TestMigrations:
    def test_build_the_tables(self, deployment: Deployment) -> None:
        with deployment.database.engine.connect() as connection:
            options = {"compare_type": True, "compare_server_default": True}
            context = MigrationContext.configure(connection, opts=options)
            assert compare_metadata(context, Base.metadata) == []
            assert set(Base.metadata.tables) < set(inspect(connection).get_table_names())

    def test_applied_twice_change_nothing(self, deployment: Deployment) -> None:
        video_id = new_video(deployment.database)
        migrate(deployment.database.engine)
        assert part_id_of(deployment.database, video_id, "probe")

    def test_from_a_checkout_whose_path_has_a_percent_sign(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        checkout = tmp_path / "100%(here)s"
        checkout.symlink_to(database_module.MIGRATIONS_FOLDER.parent)
        monkeypatch.setattr(database_module, "MIGRATIONS_FOLDER", checkout / "migrations")
        engine = make_engine(Settings(data_dir=tmp_path))
        migrate(engine)
        assert set(Base.metadata.tables) < set(inspect(engine).get_table_names())
        engine.dispose()


class TestTransaction:
    def test_sends_after_the_commit(self, recorder: Recorder) -> None:
        video_id = new_video(recorder.database)
        part_id = part_id_of(recorder.database, video_id, "probe")
        assert recorder.sent == [PartMessage(part_id=part_id, kind="probe", queue="cpu")]

    def test_sends_nothing_after_a_rollback(self, recorder: Recorder) -> None:
        def create_and_fail() -> None:
            with recorder.database.transaction() as session:
                videos.create(session, LOCAL_CALLER, file_name="a.mp4", byte_count=1, sha256="a" * 64, now=NOON)
                assert leases.count_queued(session, "cpu") == 1
                raise InterruptedTestError

        with pytest.raises(InterruptedTestError):
            create_and_fail()
        with recorder.database.transaction() as session:
            assert leases.count_queued(session, "cpu") == 0
        assert recorder.sent == []

    def test_sends_nothing_where_the_commit_fails(self, recorder: Recorder) -> None:
        def create_and_fail() -> None:
            with recorder.database.transaction() as session:
                video = videos.create(session, LOCAL_CALLER, file_name="a.mp4", byte_count=1, sha256="a" * 64, now=NOON)
                encode = PART_KINDS["encode"]
                ids = {"video_id": video.id, "job_id": "no such job"}
                leases.add_part(session, encode, tenant=video.tenant, **ids, now=NOON)

        with pytest.raises(IntegrityError):
            create_and_fail()
        assert recorder.sent == []


class TestSnapshot:
    def test_does_not_wait_for_a_writer(self, deployment: Deployment) -> None:
        new_video(deployment.database)
        counts: list[int] = []
        done = Event()

        def read() -> None:
            with deployment.database.snapshot() as session:
                counts.append(leases.count_queued(session, "cpu"))
            done.set()

        with deployment.database.transaction() as session:
            api_keys.create(session, LOCAL_CALLER, name="writing", now=NOON)
            reader = Thread(target=read)
            reader.start()
            assert done.wait(10)
        reader.join()
        assert counts == [1]

    def test_keeps_nothing(self, deployment: Deployment) -> None:
        with deployment.database.snapshot() as session:
            api_keys.create(session, LOCAL_CALLER, name="never", now=NOON)
        with deployment.database.snapshot() as session:
            assert api_keys.list_all(session, LOCAL_CALLER) == []


def test_moments_keep_their_zone(deployment: Deployment) -> None:
    with deployment.database.transaction() as session:
        api_keys.create(session, LOCAL_CALLER, name="key", now=NOON)
    with deployment.database.snapshot() as session:
        (row,) = api_keys.list_all(session, LOCAL_CALLER)
    assert row.created_at == NOON
    assert row.created_at.utcoffset() == NOON.utcoffset()


def test_a_moment_without_a_zone_is_refused(deployment: Deployment) -> None:
    with pytest.raises(Exception, match="without a time zone"), deployment.database.transaction() as session:
        api_keys.create(session, LOCAL_CALLER, name="key", now=NOON.replace(tzinfo=None))


def test_postgresql_gives_a_silent_network_up_long_before_a_lease_is_lost(deployed_deployment: Deployment) -> None:
    lease_seconds = deployed_deployment.settings.lease_seconds
    with deployed_deployment.database.engine.connect() as connection:
        driver_connection = connection.connection.driver_connection
        assert driver_connection is not None
        used = driver_connection.info.get_parameters()
    assert used["keepalives"] == "1"
    assert 0 < int(used["tcp_user_timeout"]) / 1000 < lease_seconds / 2
    probes = int(used["keepalives_count"]) * int(used["keepalives_interval"])
    assert 0 < int(used["keepalives_idle"]) + probes < lease_seconds / 2


class TestCheck:
    def test_of_a_database_that_answers(self, deployment: Deployment) -> None:
        deployment.database.check()

    def test_of_one_that_was_never_migrated(self, tmp_path: Path, postgresql_server: PostgresqlServer) -> None:
        for settings in (
            Settings(data_dir=tmp_path),
            Settings(database_url=SecretStr(postgresql_server.url("postgres"))),
        ):
            database = Database(make_engine(settings), send=lambda _: None)
            with pytest.raises(DatabaseUnavailableError, match="python -m app migrate"):
                database.check()
            database.close()

    def test_of_one_that_does_not(self) -> None:
        settings = Settings(database_url="postgresql+psycopg://stdo@127.0.0.1:9/stdo")
        database = Database(make_engine(settings), send=lambda _: None)
        with pytest.raises(DatabaseUnavailableError):
            database.check()
        database.close()
