"""Couchbase as a cache tier: documents that hold frames, expire, and are replaced by newer versions only."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from time import monotonic

from tiered.clock import Clock
from tiered.entry import keep_until_of, version_of
from tiered.errors import Ambiguous, NotApplied, Reason, StoreError, StoreUnavailable, without_tier
from tiered.tiers.base import RETENTION_MS, Page
from tiered.tiers.couchbase_batch import BATCH, BATCH_BYTES, Held, Mutation
from tiered.tiers.couchbase_documents import MAX_BODY, hollowed, id_of, native_expiry, pack, unpack
from tiered.tiers.couchbase_link import Link
from tiered.tiers.couchbase_listing import Listings

ATTEMPTS = 50
CLAIM_SECONDS = 600
_CONTRADICTS = "the server says again and again that a document is there, and that it is not"
LATE = 10.0
"""Seconds after which what was committed or read is not put any more (R6): half a minute before the shortest retention
ends, whatever the way takes."""

Item = tuple[str, bytes]


class CouchbaseCache:
    """The part of `CouchbaseTier` that is a cache. Thread-safe; raises `StoreError`."""

    def __init__(self, link: Link, prefix: str, limit: int, max_ms: int, clock: Clock) -> None:
        self._link, self._prefix, self._limit, self._max_ms, self._clock = link, prefix, limit, max_ms, clock
        self._listings = Listings(link)

    def get_many(self, scope: str, keys: Sequence[str]) -> list[bytes | None]:
        start = self._start(scope)
        ids = [id_of(start, key, self._limit) for key in keys]
        self._check_run(StoreUnavailable)
        held = [self._link.fetch(ids[0])] if len(ids) == 1 else self._link.fetch_many(ids)
        bodies = [None if it is None else unpack(it.body) for it in held]
        return [None if body is None or body.hollow else body.frame for body in bodies]

    def put_many(self, scope: str, items: Sequence[Item], since: float | None) -> list[bool]:
        if since is not None and monotonic() - since > LATE:
            message = "these entries are too old to be put: what they would replace may have gone meanwhile"
            raise NotApplied(message, tier=self._link.name, reason=Reason.TIMEOUT)
        accepted: list[bool] = []
        try:
            for batch in _batches(items):
                accepted += self._put(self._start(scope), batch)
                self._check_run(Ambiguous)
        except (StoreUnavailable, NotApplied) as error:
            kind = Ambiguous if any(accepted) else NotApplied
            message = without_tier(error, error.tier)
            raise kind(message, tier=error.tier, reason=error.reason) from error
        return accepted

    def listing(self, scope: str, cursor: str | None, limit: int) -> Page:
        it = self._listings.open(self._start(scope), "") if cursor is None else self._listings.reopen(cursor)
        page, following = self._listings.page(it, limit)
        return Page([(key, unpack(held.body).frame) for key, held in page], following)

    def discard(self, scope: str, items: Sequence[Item]) -> int:
        start, removed = self._start(scope), 0
        ids = [id_of(start, key, self._limit) for key, _ in items]
        for id, (_, frame), held in zip(ids, items, self._link.fetch_many(ids), strict=True):
            if held is not None and unpack(held.body).frame == frame:
                removed += self._link.remove(id, held.cas)
        return removed

    def probe(self) -> str:
        """Asks every node, then for the `identity`."""
        self._link.ping()
        return self.identity()

    def identity(self) -> str:
        """Of the data: another one if the bucket was emptied, or a node came back with another history."""
        id = f"{self._prefix}!cache"
        try:
            for _ in range(ATTEMPTS):
                held = self._link.fetch(id)
                if held is not None and not self._link.replaced:
                    return held.body.decode(errors="replace")
                if self._link.mutate(Mutation(id, uuid.uuid4().hex.encode(), 0, held.cas if held else 0)):
                    self._link.believe()
        except (NotApplied, Ambiguous) as error:
            message = without_tier(error, error.tier)
            raise StoreUnavailable(message, tier=error.tier, reason=error.reason) from error
        raise StoreUnavailable(_CONTRADICTS, tier=self._link.name, reason=Reason.OTHER)

    def claim(self, namespace: str, identity: str) -> str:
        id = self.claim_key(namespace)
        for _ in range(ATTEMPTS):
            if self._link.mutate(Mutation(id, identity.encode(), CLAIM_SECONDS, 0)):
                return identity
            held = self._link.fetch(id)
            if held is not None:
                if held.body == identity.encode():
                    self._link.touch(id, CLAIM_SECONDS)
                return held.body.decode(errors="replace")
        raise StoreUnavailable(_CONTRADICTS, tier=self._link.name, reason=Reason.OTHER)

    def claim_key(self, namespace: str) -> str:
        return f"{self._prefix}!claim:{namespace}"

    def forget(self) -> None:
        self._listings.forget()

    # Private

    def _put(self, start: str, items: Sequence[Item]) -> list[bool]:
        """Items of different keys: look, compare, and replace what was looked at."""
        ids = [id_of(start, key, self._limit) for key, _ in items]
        accepted = [False] * len(items)
        places = list(range(len(items)))
        for _ in range(ATTEMPTS):
            held = self._link.fetch_many([ids[place] for place in places])
            mutations: dict[int, Mutation] = {}
            for place, it in zip(places, held, strict=True):
                key, frame = items[place]
                if version_of(frame) > (version_of(unpack(it.body).frame) if it else 0):
                    mutations[place] = self._mutation(start, ids[place], key, frame, it)
            done = self._link.mutate_many(list(mutations.values())) if mutations else []
            places = []
            for place, cas in zip(mutations, done, strict=True):
                accepted[place] = bool(cas)
                if not cas:
                    places.append(place)
            if not places:
                return accepted
        raise NotApplied("other writers were faster every time", tier=self._link.name, reason=Reason.BUSY)

    def _mutation(self, start: str, id: str, key: str, frame: bytes, held: Held | None) -> Mutation:
        body = pack(start, key, id, frame)
        if len(body) > MAX_BODY:
            body = hollowed(body, frame)
        keep_until = keep_until_of(frame)
        lives = min(self._max_ms, keep_until - self._clock.now() + RETENTION_MS) if keep_until else self._max_ms
        return Mutation(id, body, native_expiry(lives), held.cas if held else 0)

    def _check_run(self, kind: type[StoreError]) -> None:
        """A node with another history may have lost what it had acknowledged."""
        if self._link.replaced:
            message = "a node was restarted or replaced; what it holds is not believed until a probe has looked at it"
            raise kind(message, tier=self._link.name, reason=Reason.RESTARTED)

    def _start(self, scope: str) -> str:
        return f"{self._prefix}~{scope}:"


def _batches(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Runs of items that name no key twice and are not too much for one round trip."""
    batch: list[Item] = []
    keys: set[str] = set()
    size = 0
    for key, frame in items:
        if key in keys or len(batch) == BATCH or (batch and size + len(frame) > BATCH_BYTES):
            yield batch
            batch, keys, size = [], set(), 0
        batch.append((key, frame))
        keys.add(key)
        size += len(frame)
    if batch:
        yield batch
