"""dogpile.cache: its Redis backend behind a proxy with an LRU in memory. Two tiers: nothing is durable."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cachetools
from dogpile.cache import make_region
from dogpile.cache.api import NO_VALUE
from dogpile.cache.proxy import ProxyBackend

from benchmarks.systems import MEMORY_ENTRIES, SOCKET_TIMEOUT


class _Lru(ProxyBackend):  # type: ignore[misc]  # untyped here
    """The recipe of dogpile's documentation with a bounded dictionary; serialized bytes, as Redis gets them."""

    def __init__(self) -> None:
        super().__init__()
        self._memory: cachetools.LRUCache[str, Any] = cachetools.LRUCache(MEMORY_ENTRIES)
        self._lock = threading.Lock()

    def get_serialized(self, key: str) -> Any:
        with self._lock:
            value = self._memory.get(key, NO_VALUE)
        if value is NO_VALUE:
            value = self.proxied.get_serialized(key)
            if value is not NO_VALUE:
                self._keep(key, value)
        return value

    def set_serialized(self, key: str, value: Any) -> None:
        self.proxied.set_serialized(key, value)
        self._keep(key, value)

    def _keep(self, key: str, value: Any) -> None:
        with self._lock:
            self._memory[key] = value


class DogpileProxy:
    """redis-py's default retries, as dogpile leaves them."""

    def __init__(self, redis_url: str, directory: Path) -> None:
        port = urlsplit(redis_url).port or 6379  # not "url": connections made from one do not retry
        arguments = {"host": "127.0.0.1", "port": port, "socket_timeout": SOCKET_TIMEOUT, "distributed_lock": False}
        self._region = make_region().configure("dogpile.cache.redis", arguments=arguments, wrap=[_Lru()])

    def get(self, key: str) -> str | None:
        value = self._region.get(key)
        return None if value is NO_VALUE else str(value)

    def set(self, key: str, value: str) -> None:
        self._region.set(key, value)

    def fill(self, values: Mapping[str, str]) -> None:
        self._region.set_multi(dict(values))

    def converged(self) -> None:
        return None

    def close(self) -> None:
        self._region.actual_backend.writer_client.close()
