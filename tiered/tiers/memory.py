"""The memory tier: what the backend has in this process (partitions.py), and the tier protocols over it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from heapq import nsmallest
from sys import getsizeof

from tiered.arguments import tier_name, whole
from tiered.clock import SYSTEM_CLOCK, Clock
from tiered.entry import expires_at_of, keep_until_of, version_of
from tiered.errors import NotApplied, Reason, StoreUnavailable
from tiered.tiers.base import RETENTION_MS, CacheTier, Commit, Journal, Page, Record, TierHealth, Write, Written
from tiered.tiers.partitions import ENTRY_OVERHEAD, RECORD, Partition, Partitions


class MemoryTier(Partitions, CacheTier, Record):
    """A bounded, process-local tier. Thread-safe; what it has of `Partitions`, for the backend, needs `lock`.

    `max_entries` and `max_bytes` bound the entries of all its namespaces together; when one is exceeded, the largest
    namespace loses its coldest entries, a few at a time. Not counted are a namespace's notes of keys: those read last
    (`ACCESS_BUFFER`), and in a backend those changed of late (`inflight.FLOORS`). The tier protocols are over frames, so that it
    may also stand alone (a cache without a store of record).
    """

    max_key_bytes = 1024
    journal: Journal | None = None

    def __init__(
        self,
        *,
        max_entries: int = 100_000,
        max_bytes: int = 64 * 2**20,
        name: str = "memory",
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.name = name = tier_name(name)
        super().__init__(
            max_entries=whole(f"{name}: max_entries", max_entries, 0),
            max_bytes=whole(f"{name}: max_bytes", max_bytes, 0),
        )
        self._clock = clock
        self._generations: dict[str, int] = {}
        self._version = self._bumps = 0
        self._closed = False

    # As a cache tier, over frames

    def get(self, scope: str, key: str) -> bytes | None:
        return self.get_many(scope, (key,))[0]

    def get_many(self, scope: str, keys: Sequence[str]) -> list[bytes | None]:
        self._check_open(StoreUnavailable)
        return self._frames("cache:" + scope, keys)

    def put_many(
        self, scope: str, items: Sequence[tuple[str, bytes]], *, since: float | None = None, tell: bool = False
    ) -> list[bool]:
        self._check_open(NotApplied)
        with self.lock:
            part = self.partition("cache:" + scope)
            return [self._put(part, key, frame, RETENTION_MS) for key, frame in items]

    def forget(self, scope: str) -> None:
        with self.lock:
            part = self._partitions.get("cache:" + scope)
            if part is not None:
                self.empty(part)
                del self._partitions["cache:" + scope]

    def listing(self, scope: str, cursor: str | None, limit: int) -> Page:
        return self._page("cache:" + scope, "", cursor, limit)

    def discard(self, scope: str, items: Sequence[tuple[str, bytes]]) -> int:
        with self.lock:
            part = self._partitions.get("cache:" + scope)
            if part is None:
                return 0
            held = list(key for key, frame in items if key in part.slots and part.slots[key][0] == frame)
            for key in held:
                self.drop(part, key)
            return len(held)

    def probe(self) -> str:
        self._check_open(StoreUnavailable)
        return f"memory-{id(self):x}"

    def health(self) -> TierHealth:
        facts = {
            "entries": self.entries,
            "bytes": self.bytes,
            "max_entries": self.max_entries,
            "max_bytes": self.max_bytes,
            "evictions": self.evictions,
        }
        return TierHealth(not self._closed, "closed" if self._closed else "", facts)

    def close(self) -> None:
        with self.lock:
            self._closed = True
            for part in self._partitions.values():
                self.empty(part)

    # As the store of record: a cache that stands alone

    def read(self, namespace: str, key: str) -> tuple[int, bytes | None]:
        generation, frames = self.read_many(namespace, (key,))
        return generation, frames[0]

    def read_many(self, namespace: str, keys: Sequence[str]) -> tuple[int, list[bytes | None]]:
        self._check_open(StoreUnavailable)
        with self.lock:
            return self._generations.get(namespace, self._bumps + 1), self._frames(RECORD + namespace, keys)

    def commit(self, namespace: str, writes: Sequence[Write], *, marks: Sequence[str] = (), now: int) -> Commit:
        self._check_open(NotApplied)
        for write in writes:
            self._check_room(write)
        with self.lock:
            part = self.partition(RECORD + namespace)
            written = [self._commit(part, write, now) for write in writes]
            return Commit(self._generations.get(namespace, self._bumps + 1), written)

    def scan(self, namespace: str, prefix: str, cursor: str | None, limit: int) -> Page:
        return self._page(RECORD + namespace, prefix, cursor, limit)

    def namespaces(self) -> list[str]:
        with self.lock:
            return self._records()

    def _records(self) -> list[str]:
        """With the lock; a function of its own, as `Writer._admit`."""
        return [it.removeprefix(RECORD) for it in self._partitions if it.startswith(RECORD)]

    def count(self, namespace: str) -> int:
        part = self._partitions.get(RECORD + namespace)
        return 0 if part is None else len(part.slots)

    def generation(self, namespace: str) -> int:
        self._check_open(StoreUnavailable)
        return self._generations.get(namespace, self._bumps + 1)

    def clear(self, namespace: str) -> int:
        self._check_open(NotApplied)
        with self.lock:
            self.empty(self.partition(RECORD + namespace))
            self._generations[namespace] = generation = self._generations.get(namespace, self._bumps + 1) + 1
            return generation

    def bump(self) -> None:
        self._check_open(NotApplied)
        with self.lock:
            for namespace in self._records():
                self._generations[namespace] = self._generations.get(namespace, self._bumps + 1) + 1
            self._bumps += 1  # for namespaces that are not there yet

    def _commit(self, part: Partition, write: Write, now: int) -> Written:
        held = self._frame(part, write.key)
        if held is not None and 0 < expires_at_of(held) <= now:
            held = None
        if write.expect is not None and write.expect != (version_of(held) if held else 0):
            return Written(0, b"", held is not None)
        self._version += 1
        frame = write.draft.seal(self._version)
        if write.draft.tombstone:
            self.drop(part, write.key)
        else:
            self._put(part, write.key, frame, 0)
        told = write.expect is not None or write.draft.tombstone
        return Written(self._version, frame, told and held is not None)

    def _check_room(self, write: Write) -> None:
        """There is no tier below: what does not fit at all must not be acknowledged."""
        if write.draft.tombstone:
            return
        size = write.draft.size + getsizeof(write.key) + ENTRY_OVERHEAD
        if size > self.max_bytes or not self.max_entries:
            limit = f"max_bytes={self.max_bytes}, max_entries={self.max_entries}"
            message = f"the entry takes {size} bytes, but the tier has {limit}; raise them, or add a tier below"
            raise NotApplied(message, tier=self.name, reason=Reason.TOO_LARGE)

    def _put(self, part: Partition, key: str, frame: bytes, retention: int) -> bool:
        held = part.slots.get(key)
        version = version_of(frame)
        if held is not None and held[3] >= version:
            return False
        keep_until = keep_until_of(frame)
        deadline = math.inf
        if keep_until:
            deadline = self._clock.monotonic() + (keep_until + retention - self._clock.now()) / 1000
        self.admit(part, key, (frame, deadline, None, version, 0, 0.0, deadline, len(frame) + getsizeof(key)))
        return True

    def _page(self, partition: str, prefix: str, cursor: str | None, limit: int) -> Page:
        self._check_open(StoreUnavailable)
        with self.lock:
            part = self._partitions.get(partition)
            slots = {} if part is None else part.slots
            after = (key for key in slots if key.startswith(prefix) and (cursor is None or key > cursor))
            keys = nsmallest(limit + 1, after)
            page = [(key, slots[key][0]) for key in keys[:limit]]
        return Page(page, page[-1][0] if len(keys) > limit else None)

    def _frames(self, partition: str, keys: Sequence[str]) -> list[bytes | None]:
        """Of a partition that is not there none; asking makes no namespace."""
        part = self._partitions.get(partition)
        return [None] * len(keys) if part is None else [self._frame(part, key) for key in keys]

    def _frame(self, part: Partition, key: str) -> bytes | None:
        slot = part.slots.get(key)
        if slot is None or slot[1] <= self._clock.monotonic():
            return None
        part.touched.append(key)
        frame: bytes = slot[0]
        return frame

    def _check_open(self, error: type[StoreUnavailable] | type[NotApplied]) -> None:
        if self._closed:
            raise error("closed; build a new one", tier=self.name)
