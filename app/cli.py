"""`python -m app`: serve, migrate, keys."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, OperationalError, ProgrammingError

from app.serve import embedded, server
from app.serve.server import listen, url_of
from app.serve.supervisor import ServeError
from core import api_keys
from core.callers import LOCAL_CALLER
from core.clock import utc_now
from core.database import Database, make_engine, migrate
from core.errors import ServiceError, SettingsError
from core.settings import Settings, load_settings, variable_name

app = typer.Typer(help="The encoding service.", no_args_is_help=True, pretty_exceptions_enable=False)
keys = typer.Typer(help="API keys.", no_args_is_help=True)
app.add_typer(keys, name="keys")

_KEY_LINE = "{:32}  {:16}  {:16}  {:16}  {}"


@app.command()
def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on. Beyond loopback, callers need an API key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8000,
    processes: Annotated[int, typer.Option(min=1, max=256, help="Server processes; deployed mode only.")] = 1,
    ready_file: Annotated[
        Path | None, typer.Option(help="Embedded mode: write the URL there, as JSON, once the service is ready.")
    ] = None,
) -> None:
    """Run the service. Embedded mode: all of it. Deployed mode: the API alone, on the settings' servers."""
    with _told_errors():
        settings = _load_settings()
        if settings.mode == "embedded":
            if processes != 1:
                raise ServeError(f"--processes needs {variable_name('mode')}=deployed.")
            embedded.serve(settings, host=host, port=port, ready_file=ready_file)
            return
        with listen(host, port) as listener:
            typer.echo(f"Serving at {url_of(listener)}", err=True)
            server.serve_deployed(listener, processes=processes)


@app.command(hidden=True)
def api(
    fd: Annotated[int, typer.Option(help="A listening socket, inherited.")],
    keys_required: Annotated[bool, typer.Option("--keys-required")] = False,
) -> None:
    """The API of embedded mode; started by serve, never by hand."""
    with _told_errors():
        server.serve_embedded(socket.socket(fileno=fd), _load_settings(), keys_required=keys_required)


@app.command(name="migrate")
def migrate_database() -> None:
    """Bring the database's schema to the newest version."""
    with _told_errors():
        engine = make_engine(_load_settings())
        migrate(engine)
        engine.dispose()
        typer.echo("The database is up to date.")


@keys.command()
def create(name: Annotated[str, typer.Argument(help="Who or what the key is for; shown in listings.")]) -> None:
    """Make a key and print it. It can't be shown again."""
    with _database() as database, database.transaction() as session:
        key = api_keys.create(session, LOCAL_CALLER, name=name, now=utc_now())
    typer.echo(key.secret)
    typer.echo(f"Key {key.id} was made. Keep it: it can't be shown again.", err=True)


@keys.command(name="list")
def list_keys() -> None:
    """List all keys, without the keys themselves."""
    with _database() as database, database.snapshot() as session:
        rows = api_keys.list_all(session, LOCAL_CALLER)
    typer.echo(_KEY_LINE.format("id", "created", "last used", "revoked", "name"))
    for row in rows:
        moments = (row.created_at, row.last_used_at, row.revoked_at)
        texts = ("-" if at is None else f"{at:%Y-%m-%d %H:%M}" for at in moments)
        typer.echo(_KEY_LINE.format(row.id, *texts, row.name))


@keys.command()
def revoke(key_id: Annotated[str, typer.Argument(help="From `keys list`.")]) -> None:
    """Refuse a key from now on."""
    with _database() as database, database.transaction() as session:
        api_keys.revoke(session, LOCAL_CALLER, key_id, now=utc_now())
    typer.echo(f"Key {key_id} is revoked.", err=True)


def _load_settings() -> Settings:
    """The environment's settings. Raises SettingsError, also for a database URL that SQLAlchemy can't use."""
    settings = load_settings()
    try:
        make_url(settings.effective_database_url).get_dialect().import_dbapi()
    except (ArgumentError, ImportError):
        # The error's own words may hold the password.
        raise SettingsError(
            f"{variable_name('database_url')} can't be used. Write it as postgresql+psycopg://user:password@host/name."
        ) from None
    return settings


@contextmanager
def _database() -> Iterator[Database]:
    with _told_errors():
        database = Database(make_engine(_load_settings()), send=lambda _: None)
        try:
            yield database
        finally:
            database.close()


@contextmanager
def _told_errors() -> Iterator[None]:
    """What the user can put right is told in a sentence; anything else keeps its traceback."""
    try:
        yield
    except ServiceError as error:
        sys.exit(f"error: {error.detail}")
    except ServeError as error:
        sys.exit(f"error: {error}")
    except (OperationalError, ProgrammingError) as error:
        sys.exit(
            f"error: the database can't be used: {error.orig}\nRun `python -m app migrate` first, and check its URL."
        )
    except OSError as error:
        if error.filename is None:
            raise
        sys.exit(
            f"error: {error.filename}: {error.strerror}. {variable_name('data_dir')} must be a folder to write in."
        )
