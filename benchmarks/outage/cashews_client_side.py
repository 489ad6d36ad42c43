"""cashews: Redis with client-side caching in memory. Two tiers: nothing is durable."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

from cashews import Cache
from cashews.backends.memory import Memory

from benchmarks.outage.system import MEMORY_ENTRIES, SOCKET_TIMEOUT


class NotStored(Exception):
    """cashews says False where others raise."""


class CashewsClientSide:
    """Its asyncio loop runs in a thread, and each call hops to it: compare its rates with its own, not with others'."""

    def __init__(self, redis_url: str, directory: Path) -> None:
        logging.getLogger("cashews").setLevel(logging.CRITICAL)  # it logs a traceback for each failed command
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cashews")
        self._thread.start()
        self._cache = Cache()
        memory = Memory(size=MEMORY_ENTRIES)
        self._cache.setup(redis_url, client_side=True, local_cache=memory, socket_timeout=SOCKET_TIMEOUT)
        self._call(self._cache.init())

    def get(self, key: str) -> str | None:
        value: str | None = self._call(self._cache.get(key))
        return value

    def set(self, key: str, value: str) -> None:
        if not self._call(self._cache.set(key, value)):
            raise NotStored

    def fill(self, values: Mapping[str, str]) -> None:
        self._call(self._cache.set_many(dict(values)))

    def close(self) -> None:
        self._call(self._cache.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
