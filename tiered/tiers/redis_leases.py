"""Leases in Redis: `{prefix}:{namespace}:lease:{key}` holds the token of whoever is loading the key, and expires."""

from __future__ import annotations

from tiered.tiers.redis_cluster import Cluster
from tiered.tiers.redis_errors import Late, store_error
from tiered.tiers.redis_link import Link
from tiered.tiers.redis_script import LATE, Script

_LEASE = Script("lease.lua")


class RedisLeases:
    """The leases of one Redis. Thread-safe. A holder that stops extending loses its lease."""

    expires = True

    def __init__(self, link: Link | Cluster, prefix: str) -> None:
        self._link, self._prefix = link, prefix

    def take(self, namespace: str, key: str, token: str, ttl: float) -> bool:
        """A command that was on its way for too long is refused: its sender has long gone on without."""
        not_after = self._link.at(self._name(namespace, key)).not_after()
        result = self._run(namespace, key, "take", token, ttl, not_after)
        if result == LATE:
            raise store_error(Late(), self._link.name, write=True, sent=True)
        return result == 1

    def extend(self, namespace: str, key: str, token: str, ttl: float) -> bool:
        return self._run(namespace, key, "extend", token, ttl) == 1

    def release(self, namespace: str, key: str, token: str) -> None:
        self._run(namespace, key, "release", token)

    def _run(self, namespace: str, key: str, what: str, token: str, ttl: float = 0.0, not_after: int = 0) -> int:
        name, px = self._name(namespace, key), max(1, round(ttl * 1000))
        return int(self._link.script(_LEASE, [name], [what, token, str(px), str(not_after)], write=True))

    def _name(self, namespace: str, key: str) -> str:
        return f"{self._prefix}:{namespace}:lease:{key}"
