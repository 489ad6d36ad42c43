"""tiered for asyncio, with its default options."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.systems.tiered_chain import TieredChain
from tiered import AsyncTieredBackend, WriteOutcome


class TieredAsyncio:
    """Every default."""

    def __init__(self, redis_url: str, directory: Path) -> None:
        self._chain = TieredChain(redis_url, directory)
        self._store = AsyncTieredBackend.over(self._chain.backend)

    async def open(self) -> None:
        """It connects when it is used."""

    async def get(self, key: str) -> str | None:
        value: str | None = await self._store.get(key)
        return value

    async def set(self, key: str, value: str) -> WriteOutcome:
        return await self._store.set(key, value)

    async def fill(self, values: Mapping[str, str]) -> None:
        self._chain.fill(values)

    async def close(self) -> None:
        await self._store.close()
