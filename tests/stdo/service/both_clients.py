"""Both HTTP clients behind one face, so that each test runs against either."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from stdo.service.async_client import AsyncClient
from stdo.service.client import Client

OpenClient = Callable[..., Any]


@contextmanager
def blocking(url: str, **options: Any) -> Iterator[Any]:
    """`Client`, its iterators as lists."""
    with Client(url, **options) as client:
        yield _Collected(client, lambda result: list(result) if isinstance(result, Iterator) else result)


@contextmanager
def on_asyncio(url: str, **options: Any) -> Iterator[Any]:
    """`AsyncClient` on a loop of its own: each method runs to its end."""

    async def collect(items: AsyncIterator[Any]) -> list[Any]:
        return [item async for item in items]

    def run(result: Any) -> Any:
        return runner.run(collect(result) if isinstance(result, AsyncIterator) else result)

    async def opened() -> AsyncClient:
        return AsyncClient(url, **options)

    with asyncio.Runner() as runner:
        client = runner.run(opened())
        try:
            yield _Collected(client, run)
        finally:
            runner.run(client.close())


class _Collected:
    def __init__(self, client: Any, finish: Callable[[Any], Any]) -> None:
        self._client = client
        self._finish = finish

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        assert inspect.ismethod(method), name
        return lambda *arguments, **options: self._finish(method(*arguments, **options))
