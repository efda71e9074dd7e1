from __future__ import annotations

import socket

import pytest

from app.serve.listening import listen, url_of
from app.serve.supervisor import ServeError


def test_a_free_port() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert url_of(listener) == f"http://127.0.0.1:{port}"
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


@pytest.mark.parametrize(("host", "address"), [("0.0.0.0", "127.0.0.1"), ("localhost", None), ("::1", "[::1]")])
def test_addresses(host: str, address: str | None) -> None:
    with listen(host, 0) as listener:
        url = url_of(listener)
        assert url.startswith(f"http://{address}:" if address else ("http://127.0.0.1:", "http://[::1]:"))


def test_a_port_in_use() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServeError, match=f"Port {port} of 127.0.0.1 is in use.*--port"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "", "not a host"])
def test_hosts_that_are_not_ours(host: str) -> None:
    with pytest.raises(ServeError, match="--host"):
        listen(host, 0)
