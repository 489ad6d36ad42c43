"""The three tiers that people write by hand: cachetools and a lock, redis-py, a durable disk."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cachetools
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from benchmarks.systems import MEMORY_ENTRIES, SOCKET_TIMEOUT
from benchmarks.systems.breaker import NoBreaker, TimerBreaker
from benchmarks.systems.disk import open_disk


class HandRolled:
    """Reads go down the tiers and fill those above; a set goes to the disk first. redis-py retries as it does by default.

    Errors of Redis are passed over, as a cache's: the disk has the answer.
    """

    durable = False

    def __init__(self, redis_url: str, directory: Path) -> None:
        self._memory: cachetools.LRUCache[str, str] = cachetools.LRUCache(MEMORY_ENTRIES)
        self._lock = threading.Lock()
        port = urlsplit(redis_url).port or 6379
        self._redis = redis.Redis("127.0.0.1", port, **self._options())  # not from_url: its connections do not retry
        self._disk = open_disk(directory, durable=self.durable)
        self._breaker = self._new_breaker()

    def get(self, key: str) -> str | None:
        with self._lock:
            value: str | None = self._memory.get(key)
        if value is not None:
            return value
        value = self._try(self._redis.get, key)
        if value is None:
            value = self._disk.get(key)
            if value is None:
                return None
            self._try(self._redis.set, key, value)
        with self._lock:
            self._memory[key] = value
        return value

    def set(self, key: str, value: str) -> None:
        self._disk.set(key, value)
        self._try(self._redis.set, key, value)
        with self._lock:
            self._memory[key] = value

    def fill(self, values: Mapping[str, str]) -> None:
        self._disk.fill(values)
        self._redis.mset(dict(values))

    def converged(self) -> None:
        return None

    def close(self) -> None:
        self._redis.close()
        self._disk.close()

    def _options(self) -> dict[str, Any]:
        return {"socket_timeout": SOCKET_TIMEOUT, "socket_connect_timeout": SOCKET_TIMEOUT, "decode_responses": True}

    def _new_breaker(self) -> NoBreaker | TimerBreaker:
        return NoBreaker()

    def _try(self, call: Any, *arguments: str) -> Any:
        if not self._breaker.allows():
            return None
        try:
            answer = call(*arguments)
        except redis.RedisError:
            self._breaker.failed()
            return None
        self._breaker.succeeded()
        return answer


class HandRolledDurable(HandRolled):
    """The same, but what `set` has acknowledged survives a power cut, as in tiered."""

    durable = True


class HandRolledWithBreaker(HandRolled):
    """The same behind a breaker, and without retries: with them the first call alone would outlast the outage."""

    def _options(self) -> dict[str, Any]:
        return {**super()._options(), "retry": Retry(NoBackoff(), 0)}

    def _new_breaker(self) -> TimerBreaker:
        return TimerBreaker()
