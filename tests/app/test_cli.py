from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from core import api_keys
from core.callers import LOCAL_CALLER
from core.clock import utc_now
from core.database import Database, make_engine
from core.errors import InvalidApiKeyError
from core.settings import Settings
from tests.deployments import Deployment
from tests.servers import PostgresqlServer


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """`serve` sets up the process's logging, which is the tests' own here."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def run(deployment: Deployment, *arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, env=dict(deployment.environment))
    assert result.exit_code == 0, result.output
    return result.output


def run_in_vain(*arguments: str, **environment: str) -> str:
    result = CliRunner().invoke(app, arguments, env=environment)
    assert result.exit_code == 1, result.output
    assert result.output.startswith("error: ")
    assert "Traceback" not in result.output
    return result.output


class TestKeys:
    def test_from_creation_to_the_end(self, deployment: Deployment) -> None:
        said = run(deployment, "keys", "create", "the editor's laptop")
        secret, key_id = said.split()[0], re.search(r"Key ([0-9a-f]{32})", said)
        assert key_id is not None
        with deployment.database.transaction() as session:
            assert api_keys.authenticate(session, secret, now=utc_now()).api_key_id == key_id[1]
        listing = run(deployment, "keys", "list")
        assert key_id[1] in listing
        assert secret not in listing
        run(deployment, "keys", "revoke", key_id[1])
        with deployment.database.transaction() as session, pytest.raises(InvalidApiKeyError):
            api_keys.authenticate(session, secret, now=utc_now())

    def test_an_unknown_key(self, embedded_deployment: Deployment) -> None:
        said = run_in_vain("keys", "revoke", "nothing", **embedded_deployment.environment)
        assert "no API key 'nothing'" in said

    def test_before_the_migration(self, tmp_path: Path) -> None:
        assert "python -m app migrate" in run_in_vain("keys", "list", STDO_DATA_DIR=str(tmp_path))

    def test_before_the_migration_of_a_postgresql(self, postgresql_server: PostgresqlServer) -> None:
        said = run_in_vain("keys", "create", "me", STDO_DATABASE_URL=postgresql_server.url("postgres"))
        assert "python -m app migrate" in said


class TestMigrate:
    def test_makes_the_schema_and_may_be_repeated(self, tmp_path: Path) -> None:
        for _ in range(2):
            result = CliRunner().invoke(app, ["migrate"], env={"STDO_DATA_DIR": str(tmp_path)})
            assert (result.exit_code, result.output) == (0, "The database is up to date.\n")
        database = Database(make_engine(Settings(data_dir=tmp_path)), send=lambda _: None)
        with database.snapshot() as session:
            assert api_keys.list_all(session, LOCAL_CALLER) == []
        database.close()

    def test_a_server_that_is_not_there(self) -> None:
        url = "postgresql+psycopg://me:secret@127.0.0.1:1/nothing"
        said = run_in_vain("migrate", STDO_DATABASE_URL=url)
        assert "the database can't be used" in said
        assert "secret" not in said

    @pytest.mark.parametrize(
        "url", ["a word", "nothing://me:secret@host/name", "postgresql+psycopg2://me:secret@host/name"]
    )
    def test_a_url_that_is_none(self, url: str) -> None:
        said = run_in_vain("migrate", STDO_DATABASE_URL=url)
        assert "STDO_DATABASE_URL" in said
        assert "postgresql+psycopg://" in said
        assert "secret" not in said

    def test_a_data_folder_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        assert "STDO_DATA_DIR" in run_in_vain("migrate", STDO_DATA_DIR=str(tmp_path / "file"))


class TestServe:
    def test_a_data_folder_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        assert "STDO_DATA_DIR" in run_in_vain("serve", STDO_DATA_DIR=str(tmp_path / "file"))

    def test_a_ready_file_in_no_folder(self, tmp_path: Path) -> None:
        ready_file = tmp_path / "absent" / "ready.json"
        said = run_in_vain("serve", "--ready-file", str(ready_file), STDO_DATA_DIR=str(tmp_path))
        assert f"no folder {ready_file.parent}" in said

    def test_settings_that_are_missing_are_named(self) -> None:
        said = run_in_vain("serve", STDO_MODE="deployed")
        assert "STDO_DATABASE_URL" in said
        assert "STDO_S3_BUCKET" in said

    def test_server_processes_are_for_deployed_mode(self, tmp_path: Path) -> None:
        assert "STDO_MODE=deployed" in run_in_vain("serve", "--processes", "2", STDO_DATA_DIR=str(tmp_path))
