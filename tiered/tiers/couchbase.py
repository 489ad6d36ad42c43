"""The Couchbase tier: a store of record shared by many hosts, or a cache above another one.

As the record, a document's CAS is the entry's version, so that an unconditional write is one round trip, and the generation is
in a document of its own (couchbase_generations.py). As a cache, documents hold frames with their versions, and a put
compares and replaces by CAS.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from tiered.arguments import MAX_TTL, choice, number, text_of, tier_name, utf8_size
from tiered.clock import SYSTEM_CLOCK, Clock
from tiered.errors import ConfigError, StoreError
from tiered.forks import forget, register
from tiered.tiers.base import BuiltIn, Commit, Journal, Page, Stamp, TierHealth, Write
from tiered.tiers.couchbase_cache import CouchbaseCache
from tiered.tiers.couchbase_leases import CouchbaseLeases
from tiered.tiers.couchbase_link import Link
from tiered.tiers.couchbase_record import CouchbaseRecord
from tiered.tiers.couchbase_url import address_of

Durability = Literal["none", "majority", "majority_and_persist_active", "persist_to_majority"]

MAX_KEY_BYTES = 246
MAX_PREFIX_BYTES = 64
TIME_LIMITS = (0.001, 3600.0)


class CouchbaseTier(BuiltIn):
    """The bucket, or the collection of one, at `url`: couchbase://user:password@host[,host]/bucket[/scope/collection].

    couchbases:// is TLS; `certificate` is a file with the authorities to trust. `user` and `password` are for URLs without.
    Thread-safe; connects on first use. Timeouts and `max_ttl` are seconds; `max_ttl` bounds how long a document of a cache
    tier lives. With `durability`, a write is acknowledged when other nodes have it, too, or a disk. Keys have up to 246
    bytes, and a value with its frame up to 20 MiB.
    """

    max_key_bytes = MAX_KEY_BYTES
    journal: Journal | None = None
    serve_unproven = True
    one_by_one = True

    def __init__(
        self,
        url: str,
        *,
        user: str | None = None,
        password: str | None = None,
        certificate: str | None = None,
        name: str = "couchbase",
        prefix: str = "tiered",
        connect_timeout: float = 1.0,
        timeout: float = 0.25,
        durability: Durability = "none",
        max_ttl: float = 86_400.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.name = name = tier_name(name)
        for option, limit in (("connect_timeout", connect_timeout), ("timeout", timeout)):
            number(f"{name}: {option}", limit, *TIME_LIMITS, " seconds")
        if not 0 < utf8_size(prefix) <= MAX_PREFIX_BYTES or "\0" in prefix:  # the SDK would cut every id there
            raise ConfigError(
                f"{name}: prefix must be a str of 1 to {MAX_PREFIX_BYTES} bytes, none of them 0, not {prefix!r:.40}"
            )
        prefix = text_of(prefix)
        choice(f"{name}: durability", durability, get_args(Durability))
        max_ms = int(number(f"{name}: max_ttl", max_ttl, 0.001, MAX_TTL, " seconds") * 1000)
        address = address_of(url, name, user=user, password=password, certificate=certificate)
        self.patience = max(timeout, connect_timeout)
        """The longest that one step of a call waits, in seconds."""
        self._durability = durability
        self._link = Link(
            address,
            name=name,
            timeout=timeout,
            connect_timeout=connect_timeout,
            durability=durability,
            clock=clock,
        )
        self._cache = CouchbaseCache(self._link, prefix, address.max_id_bytes, max_ms, clock)
        self._record = CouchbaseRecord(self._link, prefix, address.max_id_bytes, clock)
        self.hosts = self._record.hosts
        self.leases = CouchbaseLeases(self._link, prefix, address.max_id_bytes)
        register(self)

    # As a cache tier

    def get(self, scope: str, key: str) -> bytes | None:
        return self._cache.get_many(scope, (key,))[0]

    def get_many(self, scope: str, keys: Sequence[str]) -> list[bytes | None]:
        return self._cache.get_many(scope, keys)

    def put_many(
        self, scope: str, items: Sequence[tuple[str, bytes]], *, since: float | None = None, tell: bool = False
    ) -> list[bool]:
        return self._cache.put_many(scope, items, since)

    def listing(self, scope: str, cursor: str | None, limit: int) -> Page:
        return self._cache.listing(scope, cursor, limit)

    def discard(self, scope: str, items: Sequence[tuple[str, bytes]]) -> int:
        return self._cache.discard(scope, items)

    def forget(self, scope: str) -> None:
        """Nothing to do: every document expires."""

    def probe(self) -> str:
        """Asks every node, then who the bucket is: an emptied one is another."""
        return self._cache.probe()

    def claim(self, namespace: str, identity: str) -> str:
        return self._cache.claim(namespace, identity)

    def claim_key(self, namespace: str) -> str:
        return self._cache.claim_key(namespace)

    def health(self) -> TierHealth:
        facts = {"durability": self._durability, "service": self._link.state}
        try:
            self._link.ping()
        except StoreError as error:
            return TierHealth(False, str(error), facts)
        return TierHealth(True, "", facts)

    def close(self) -> None:
        self._link.close()
        forget(self)

    # As the store of record

    @property
    def stamp(self) -> Stamp:
        """What puts frames that are stored without a version under theirs (`LateVersions`)."""
        return self._record.stamp

    @stamp.setter
    def stamp(self, stamp: Stamp) -> None:
        self._record.stamp = stamp

    def read(self, namespace: str, key: str) -> tuple[int, bytes | None]:
        return self._record.read(namespace, key)

    def read_many(self, namespace: str, keys: Sequence[str]) -> tuple[int, list[bytes | None]]:
        return self._record.read_many(namespace, keys)

    def commit(self, namespace: str, writes: Sequence[Write], *, marks: Sequence[str] = (), now: int) -> Commit:
        """One after the other for each key; several keys are no transaction: a part of them raises `Ambiguous`."""
        return self._record.commit(namespace, writes, now)

    def scan(self, namespace: str, prefix: str, cursor: str | None, limit: int) -> Page:
        """In no order; needs a server of version 7.6 or later."""
        return self._record.scan(namespace, prefix, cursor, limit)

    def generation(self, namespace: str) -> int:
        return self._record.generation(namespace)

    def clear(self, namespace: str) -> int:
        """Takes a little more than half a second: until no process believes in the generation before."""
        return self._record.change(namespace)

    def bump(self) -> None:
        self._record.change(None)

    def lineage(self) -> str:
        """Which data these are: others if a node may have lost what it had acknowledged."""
        return self._cache.identity()

    def after_fork_in_child(self) -> None:
        self._link.abandon()
        self._record.forget()
        self._cache.forget()
