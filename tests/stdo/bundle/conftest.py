"""One small bundle, built once and copied for each test, and a site that serves it with or without byte ranges."""

from __future__ import annotations

import functools
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.stdo.bundles import write_small_bundle


@pytest.fixture(scope="session")
def built_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """45x29 at scale 2, five frames in segments of 2, 2 and 1, with sound and two networks. Not to be changed."""
    return write_small_bundle(tmp_path_factory.mktemp("built") / "bundle", sound_seconds=0.2)


@pytest.fixture
def folder(built_bundle: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(built_bundle, tmp_path / "bundle"))


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder, remembers what was asked for and how many bytes were sent, and can demand a key."""

    protocol_version = "HTTP/1.1"
    asked: list[tuple[str, str | None]]
    sent: list[int]
    keys: set[str | None]
    moved_to: str
    key: str | None
    ranges: bool
    cuts: list[str]
    """Paths whose next answer breaks off half way."""

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Range"]))
        self.keys.add(self.headers["Authorization"])
        if self.key is not None and self.headers["Authorization"] != f"Bearer {self.key}":
            self.send_error(401)
        elif self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", self.moved_to + self.path.replace("/moved/", "/bundle/"))
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._send_file(Path(self.translate_path(self.path)))

    def _send_file(self, path: Path) -> None:
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers["Range"] or "") if self.ranges else None
        if asked is not None and int(asked[1]) >= len(data):
            self.send_error(416)
            return
        self.send_response(200 if asked is None else 206)
        if asked is not None:
            first, last = int(asked[1]), min(int(asked[2] or len(data)), len(data) - 1)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            data = data[first : last + 1]
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.sent.append(len(data))
        with suppress(ConnectionError):  # A reader hangs up on what is longer than promised.
            if self.path in self.cuts:
                self.cuts.remove(self.path)
                data, self.close_connection = data[: len(data) // 2], True
            self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None:
        """No lines on standard error."""


class Site:
    """An HTTP server over a folder."""

    def __init__(self, root: Path) -> None:
        state = {"asked": [], "sent": [], "keys": set(), "moved_to": "", "key": None, "ranges": True, "cuts": []}
        handler = type("SiteHandler", (Handler,), state)
        self.handler: type[Handler] = handler
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(root)))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def asked(self) -> list[tuple[str, str | None]]:
        """Path and range of each request."""
        return self.handler.asked


@contextmanager
def serving(root: Path) -> Iterator[Site]:
    """A site over a folder for the length of the block."""
    site = Site(root)
    thread = threading.Thread(target=site.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield site
    finally:
        site.server.shutdown()
        site.server.server_close()
        thread.join()


@pytest.fixture
def site(folder: Path) -> Iterator[Site]:
    """`folder` as /bundle/, and the same by a redirect as /moved/."""
    with serving(folder.parent) as site:
        yield site


def flip_a_bit(path: Path, place: int | None = None) -> None:
    """Damage a file, by default in its middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if place is None else place] ^= 1
    path.write_bytes(data)


@pytest.fixture(scope="session")
def base_manifest(built_bundle: Path) -> bytes:
    """The manifest of the bundle."""
    return (built_bundle / "manifest.json").read_bytes()
