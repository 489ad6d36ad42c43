"""cashews: Redis with client-side caching in memory. Two tiers: nothing is durable."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cashews import Cache
from cashews.backends.memory import Memory

from benchmarks.systems import MEMORY_ENTRIES, SOCKET_TIMEOUT

CONNECTIONS = 100


class NotStored(Exception):
    """cashews says False where others raise."""


class CashewsClientSide:
    """As its documentation sets it up, with the memory and the socket timeout of the others.

    Its pool waits up to 10 s for one of 10 connections by default; here each task can have one.
    """

    def __init__(self, redis_url: str, directory: Path) -> None:
        self._url = redis_url
        self._cache = Cache()

    async def open(self) -> None:
        memory = Memory(size=MEMORY_ENTRIES)
        self._cache.setup(
            self._url,
            client_side=True,
            local_cache=memory,
            socket_timeout=SOCKET_TIMEOUT,
            max_connections=CONNECTIONS,
        )
        await self._cache.init()

    async def get(self, key: str) -> str | None:
        value: str | None = await self._cache.get(key)
        return value

    async def set(self, key: str, value: str) -> None:
        if not await self._cache.set(key, value):
            raise NotStored

    async def fill(self, values: Mapping[str, str]) -> None:
        await self._cache.set_many(dict(values))

    async def close(self) -> None:
        await self._cache.close()
