"""Leases in Couchbase: a document with the token of whoever is loading the key, which expires."""

from __future__ import annotations

from tiered.tiers.couchbase_batch import Mutation
from tiered.tiers.couchbase_documents import id_of, native_expiry
from tiered.tiers.couchbase_link import Link


class CouchbaseLeases:
    """The leases of one collection. Thread-safe. A holder that stops extending loses its lease, up to a second late."""

    expires = True

    def __init__(self, link: Link, prefix: str, limit: int) -> None:
        self._link, self._prefix, self._limit = link, prefix, limit

    def take(self, namespace: str, key: str, token: str, ttl: float) -> bool:
        if self._write(namespace, key, token, ttl, cas=0):
            return True
        held = self._link.fetch(self._id(namespace, key))
        if held is not None and held.body != token.encode():
            return False
        return self._write(namespace, key, token, ttl, cas=held.cas if held else 0)

    def extend(self, namespace: str, key: str, token: str, ttl: float) -> bool:
        held = self._link.fetch(self._id(namespace, key))
        if held is None or held.body != token.encode():
            return False
        return self._write(namespace, key, token, ttl, cas=held.cas)

    def release(self, namespace: str, key: str, token: str) -> None:
        id = self._id(namespace, key)
        held = self._link.fetch(id)
        if held is not None and held.body == token.encode():
            self._link.remove(id, held.cas)

    def _write(self, namespace: str, key: str, token: str, ttl: float, *, cas: int) -> bool:
        expiry = native_expiry(round(ttl * 1000))
        return bool(self._link.mutate(Mutation(self._id(namespace, key), token.encode(), expiry, cas)))

    def _id(self, namespace: str, key: str) -> str:
        return id_of(f"{self._prefix}!lease:{namespace}:", key, self._limit)
