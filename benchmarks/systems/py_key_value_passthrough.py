"""py-key-value: two pass-through caches around a store on disk make three tiers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from key_value.aio.stores.disk import DiskStore
from key_value.aio.stores.memory import MemoryStore
from key_value.aio.stores.redis import RedisStore
from key_value.aio.wrappers.passthrough_cache import PassthroughCacheWrapper
from redis.asyncio import Redis

from benchmarks.systems import MEMORY_ENTRIES, SOCKET_TIMEOUT


class PyKeyValuePassthrough:
    """Values are mappings there, so the text is a field of one."""

    def __init__(self, redis_url: str, directory: Path) -> None:
        self._port, self._directory = urlsplit(redis_url).port or 6379, directory / "disk"

    async def open(self) -> None:
        self._redis = Redis(
            host="127.0.0.1", port=self._port, socket_timeout=SOCKET_TIMEOUT, decode_responses=True
        )  # not from_url: its connections do not retry
        self._disk = DiskStore(directory=self._directory)
        below = PassthroughCacheWrapper(self._disk, RedisStore(client=self._redis))
        self._store = PassthroughCacheWrapper(below, MemoryStore(max_entries_per_collection=MEMORY_ENTRIES))

    async def get(self, key: str) -> str | None:
        held = await self._store.get(key)
        return None if held is None else str(held["text"])

    async def set(self, key: str, value: str) -> None:
        await self._store.put(key, {"text": value})

    async def fill(self, values: Mapping[str, str]) -> None:
        await self._store.put_many(list(values), [{"text": value} for value in values.values()])

    async def close(self) -> None:
        await self._disk.close()
        await self._redis.aclose()
