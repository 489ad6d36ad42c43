"""Couchbase as the store of record: a document per entry, whose CAS is the version."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from tiered.clock import Clock
from tiered.entry import HEADER_SIZE, expires_at_of, is_tombstone, namespace_seed
from tiered.errors import Ambiguous, NotApplied, Reason, StoreError, StoreUnavailable, without_tier
from tiered.tiers.base import RETENTION_MS, Commit, Page, Stamp, Write, Written
from tiered.tiers.couchbase_batch import Held, Mutation
from tiered.tiers.couchbase_documents import MAX_BODY, id_of, native_expiry, pack, sealed, unpack
from tiered.tiers.couchbase_generations import Generations, State
from tiered.tiers.couchbase_hosts import CouchbaseHosts
from tiered.tiers.couchbase_link import Link
from tiered.tiers.couchbase_listing import Listings

ATTEMPTS = 50
"""At a conditional write, while others write the same documents."""

seed_of = lru_cache(maxsize=1024)(namespace_seed)


class CouchbaseRecord:
    """The part of `CouchbaseTier` that is the last tier. Thread-safe; raises `StoreError`."""

    def __init__(self, link: Link, prefix: str, limit: int, clock: Clock) -> None:
        self._link, self._prefix, self._limit = link, prefix, limit
        self._generations = Generations(link, f"{prefix}!generations", clock)
        self._listings = Listings(link)
        self.hosts = CouchbaseHosts(self._generations)
        self.stamp: Stamp = _stamped

    def read(self, namespace: str, key: str) -> tuple[int, bytes | None]:
        state = self._generations.state()
        start = self._start(namespace, state)
        held = self._link.fetch(id_of(start, key, self._limit))
        return state.generation(namespace), None if held is None else self._frame(namespace, key, held)

    def read_many(self, namespace: str, keys: Sequence[str]) -> tuple[int, list[bytes | None]]:
        state = self._generations.state()
        start = self._start(namespace, state)
        found = self._link.fetch_many([id_of(start, key, self._limit) for key in keys])
        pairs = zip(keys, found, strict=True)
        return state.generation(namespace), [
            None if it is None else self._frame(namespace, key, it) for key, it in pairs
        ]

    def commit(self, namespace: str, writes: Sequence[Write], now: int) -> Commit:
        """A clear by another process that is over before this ends counts as one that came after it."""
        try:
            state = self._generations.state()
        except StoreUnavailable as error:
            raise _not_applied(error) from error
        commit = _Commit(self._link, self._start(namespace, state), self._limit, writes, now)
        blind = len(writes) == 1 and writes[0].expect is None and not writes[0].draft.tombstone
        written = commit.run_blind() if blind else commit.run()
        try:
            after = self._generations.after(state)
        except StoreUnavailable as error:
            message = f"written, but what it means for cache tiers is unknown: {without_tier(error, error.tier)}"
            raise Ambiguous(message, tier=error.tier, reason=error.reason) from error
        # A generation that came before the write would be one in which a cache tier may hold what is older (R8).
        still = after if after.space(namespace) == state.space(namespace) else state
        return Commit(still.generation(namespace), written)

    def scan(self, namespace: str, prefix: str, cursor: str | None, limit: int) -> Page:
        if cursor is None:
            start = self._start(namespace, self._generations.state())
            found = self._listings.open(start, prefix)
        else:
            found = self._listings.reopen(cursor)
        page, following = self._listings.page(found, limit)
        return Page([(key, self._frame(namespace, key, held)) for key, held in page], following)

    def generation(self, namespace: str) -> int:
        """Asks, so that what depends on how old it is knows."""
        return self._generations.read().generation(namespace)

    def change(self, namespace: str | None) -> int:
        """A new generation, of `namespace` with nothing in it, or of every one as it is."""
        state = self._generations.change(namespace)
        return state.generation(namespace or "")

    def forget(self) -> None:
        self._generations.forget()
        self._listings.forget()

    def _frame(self, namespace: str, key: str, held: Held) -> bytes:
        return self.stamp(namespace, key, unpack(held.body).frame, held.cas)

    def _start(self, namespace: str, state: State) -> str:
        return f"{self._prefix}:{namespace}:{state.space(namespace)}:"


class _Commit:
    """One commit: rounds of writes to different keys, each of which looks at what it must and then writes."""

    def __init__(self, link: Link, start: str, limit: int, writes: Sequence[Write], now: int) -> None:
        self._link, self._start, self._limit, self._writes, self._now = link, start, limit, writes, now
        self._written: dict[int, Written] = {}

    def run(self) -> list[Written]:
        self._check_sizes()
        try:
            for round_ in self._rounds():
                self._round(round_)
        except (StoreUnavailable, NotApplied) as error:
            if any(it.version for it in self._written.values()):
                message = f"after a part was stored: {without_tier(error, error.tier)}"
                raise Ambiguous(message, tier=error.tier, reason=error.reason) from error
            raise _not_applied(error) from error
        return [self._written[place] for place in range(len(self._writes))]

    def run_blind(self) -> list[Written]:
        """A single value, whatever was there: what most writes are."""
        self._check_sizes()
        (write,) = self._writes
        version = self._link.mutate(self._mutation(write, None))
        return [Written(version, write.draft.seal(version), False)]

    def _check_sizes(self) -> None:
        for write in self._writes:
            size = len(write.key.encode()) + write.draft.size + 4
            if size > MAX_BODY:
                message = f"a value of {len(write.draft.payload)} bytes makes a document of more than 20 MiB; split it"
                raise NotApplied(message, tier=self._link.name, reason=Reason.TOO_LARGE)

    def _rounds(self) -> Iterator[list[int]]:
        """The places of the writes, in runs that write no key twice."""
        run: list[int] = []
        keys: set[str] = set()
        for place, write in enumerate(self._writes):
            if write.key in keys:
                yield run
                run, keys = [], set()
            run.append(place)
            keys.add(write.key)
        yield run

    def _round(self, places: list[int]) -> None:
        blind = True
        for _ in range(ATTEMPTS):
            held = self._look([place for place in places if not blind or _must_look(self._writes[place])])
            mutations: dict[int, Mutation] = {}
            for place in places:
                self._decide(place, held, mutations)
            done = self._link.mutate_many(list(mutations.values())) if mutations else []
            places = [place for place, cas in zip(mutations, done, strict=True) if not cas]
            for place, cas in zip(mutations, done, strict=True):
                if cas:
                    self._apply(place, cas, held)
            if not places:
                return
            blind = False
        raise NotApplied("other writers were faster every time", tier=self._link.name, reason=Reason.BUSY)

    def _look(self, places: list[int]) -> dict[int, Held | None]:
        if len(places) < 2:
            return {place: self._link.fetch(self._id(place)) for place in places}
        return dict(zip(places, self._link.fetch_many([self._id(place) for place in places]), strict=True))

    def _decide(self, place: int, held: dict[int, Held | None], mutations: dict[int, Mutation]) -> None:
        """What is to be written under the condition of this write; or that it does not hold."""
        write, there = self._writes[place], held.get(place)
        alive = there is not None and self._alive(there)
        if write.expect is None:
            cas = None if place not in held else there.cas if there else 0
        elif write.expect == 0 and not alive:
            cas = there.cas if there else 0
        elif write.expect and alive and there and there.cas == write.expect:
            cas = there.cas
        else:
            self._written[place] = Written(0, b"", alive)
            return
        mutations[place] = self._mutation(write, cas)

    def _mutation(self, write: Write, cas: int | None) -> Mutation:
        id, keep_until = id_of(self._start, write.key, self._limit), write.draft.keep_until
        expiry = native_expiry(keep_until - self._now + RETENTION_MS) if keep_until else 0
        return Mutation(id, pack(self._start, write.key, id, write.draft.seal(0)), expiry, cas)

    def _apply(self, place: int, cas: int, held: dict[int, Held | None]) -> None:
        write, there = self._writes[place], held.get(place)
        told = write.expect is not None or write.draft.tombstone
        self._written[place] = Written(cas, write.draft.seal(cas), told and there is not None and self._alive(there))

    def _alive(self, held: Held) -> bool:
        frame = unpack(held.body).frame
        if len(frame) < HEADER_SIZE or is_tombstone(frame):
            return False
        return not 0 < expires_at_of(frame) <= self._now

    def _id(self, place: int) -> str:
        return id_of(self._start, self._writes[place].key, self._limit)


def _must_look(write: Write) -> bool:
    """Whether what is there decides. "Only if absent" is tried first: mostly nothing is there."""
    return bool(write.expect) or write.draft.tombstone


def _stamped(namespace: str, key: str, frame: bytes, version: int) -> bytes:
    return sealed(frame, seed_of(namespace), key, version)


def _not_applied(error: StoreError) -> NotApplied:
    if isinstance(error, NotApplied):
        return error
    return NotApplied(f"nothing was written: {without_tier(error, error.tier)}", tier=error.tier, reason=error.reason)
