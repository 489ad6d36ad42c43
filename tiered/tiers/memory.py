"""The memory tier: values in this process, bounded by entries and by bytes, read without a lock.

Readers look into a plain dict of immutable slots and note the access in a bounded, lossy buffer; whoever writes next
applies the buffer to the eviction policy, under the lock (after Caffeine). With four threads a lock on the read path
would cost ten times the look-up.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from heapq import nsmallest
from sys import getsizeof
from threading import Lock
from typing import Any, NamedTuple

from tiered.arguments import tier_name, whole
from tiered.clock import SYSTEM_CLOCK, Clock
from tiered.entry import expires_at_of, keep_until_of, version_of
from tiered.errors import NotApplied, Reason, StoreUnavailable
from tiered.tiers.base import RETENTION_MS, CacheTier, Commit, Journal, Page, Record, TierHealth, Write, Written
from tiered.tiers.slru import SegmentedLRU

ENTRY_OVERHEAD = 400
"""Bytes that an entry costs beyond its key and value: dict places, slot, policy (benchmarks/memory_size.py)."""

RECORD = "record:"
"""Before the name of a namespace: the partition of its frames, if the tier is the store of record."""
ACCESS_BUFFER = 1024
SHARE, MOST = 128, 32
"""Once the tier is full, one in `SHARE` of its entries leave together, `MOST` at most, or as few as take one in `SHARE` of its
bytes: what eviction takes to begin, it takes seldom, and nobody has to wait for long."""


class Slot(NamedTuple):
    """One entry in memory. A plain tuple at heart, so that the hot path may index it and the collector untracks it."""

    value: Any
    deadline: float
    """Monotonic seconds until which it may be served."""
    decode: Callable[[Any], Any] | None
    """Makes a fresh copy of a mutable value, from its payload or of a flat dict; None if `value` is immutable and served
    as it is."""
    version: int
    expires_at: int
    since: float
    """Monotonic seconds when the read or write began that brought it here."""
    ends: float
    """Monotonic seconds at which the entry itself expires."""
    size: int
    """Bytes of key and value."""


class Partition:
    """The entries of one namespace.

    Where the tier is the store of record, that keeps frames in a partition of its own: the values here are `copies` `of` them,
    are not counted as entries, and leave with them.
    """

    __slots__ = ("bytes", "copies", "of", "policy", "slots", "touched", "whole")

    def __init__(self) -> None:
        self.copies: Partition | None = None
        self.of: Partition | None = None
        self.slots: dict[str, Any] = {}
        self.touched: deque[str] = deque(maxlen=ACCESS_BUFFER)
        self.policy = SegmentedLRU()
        self.bytes = 0
        self.whole = True
        """False after a `MemoryError` or a signal's exception in the middle of a change."""


class MemoryTier(CacheTier, Record):
    """A bounded, process-local tier.

    `max_entries` and `max_bytes` bound the entries of all its namespaces together; when one is exceeded, the largest
    namespace loses its coldest entries, a few at a time. Not counted are a namespace's notes of keys: those read last
    (`ACCESS_BUFFER`), and in a backend those changed of late (`inflight.FLOORS`). `partition`, `admit`, `drop` and `empty`
    serve the backend and need `lock`; the other methods are the tier protocol, over frames, so that it may also stand
    alone (a cache without a store of record).
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
        self.max_entries = whole(f"{name}: max_entries", max_entries, 0)
        self.max_bytes = whole(f"{name}: max_bytes", max_bytes, 0)
        self.lock = Lock()  # guards policies, sizes and versions; never the slots against readers
        self.entries = self.bytes = self.evictions = 0
        self._clock = clock
        self._partitions: dict[str, Partition] = {}
        self._generations: dict[str, int] = {}
        self._version = self._bumps = 0
        self._closed = False

    # For the backend, with the lock held.

    def partition(self, name: str) -> Partition:
        found = self._partitions.get(name)
        if found is None:
            found = self._partitions[name] = Partition()
            if name.startswith(RECORD):
                found.copies = self.partition(name.removeprefix(RECORD))
                found.copies.of = found
        return found

    def admit(self, part: Partition, key: str, slot: tuple[Any, ...]) -> bool:
        """Hold `slot`, laid out as `Slot`, unless a newer version is there or it is larger than the tier."""
        held = part.slots.get(key)
        size = slot[7] + ENTRY_OVERHEAD
        if held is not None:
            if held[3] > slot[3]:
                return False
            grown = slot[7] - held[7]
        else:
            grown = size
        if (
            size > self.max_bytes
            or not self.max_entries
            or (part.of is not None and not self._has_room(part.of, key, grown))
        ):
            self.drop(part, key)
            return False
        if not part.whole:
            self._rebuild(part)
        part.whole = False
        part.slots[key] = slot
        part.bytes += grown
        self.bytes += grown
        if held is None:
            self.entries += part.of is None
            part.policy.add(key)
        else:
            part.touched.append(key)
        part.whole = True
        if self.entries > self.max_entries or self.bytes > self.max_bytes:
            self._evict(key)
        return True

    def _has_room(self, of: Partition, key: str, grown: int) -> bool:
        """For a copy of what is there, and will not be driven out by it."""
        return key in of.slots and (self.entries > 1 or self.bytes + grown <= self.max_bytes)

    def drop(self, part: Partition, key: str) -> None:
        """Forget `key`, whatever its version."""
        if not part.whole:
            self._rebuild(part)
        slot = part.slots.get(key)
        if slot is not None:
            part.whole = False
            del part.slots[key]
            part.policy.remove(key)
            self._shrink(part, slot)
            part.whole = True

    def drop_older(self, part: Partition, key: str, version: int) -> bool:
        """Forget `key` if what is held of it is below `version`; whether it was."""
        held = part.slots.get(key)
        older = held is not None and held[3] < version
        if older:
            self.drop(part, key)
        return older

    def empty(self, part: Partition) -> None:
        """Forget everything in `part`."""
        part.slots.clear()
        part.touched.clear()
        self._rebuild(part)

    def _evict(self, newest: str) -> None:
        """Down to the limits; `newest` was admitted just now, and goes only if its namespace has nothing else."""
        while self.entries > self.max_entries or self.bytes > self.max_bytes:
            part = max(self._partitions.values(), key=_load)
            if not part.whole:
                self._rebuild(part)
            part.whole = False
            part.policy.touch(part.touched)
            if part.copies is not None:
                part.policy.touch(part.copies.touched)
            part.policy.refill()
            slots, evict, copies = part.slots, part.policy.evict, part.copies
            enough = self.bytes - self.max_bytes // SHARE
            for _ in range(min(len(slots) // SHARE, MOST) or 1):
                key = evict()
                if key == newest and len(slots) > 1:
                    key = evict()
                    part.policy.add(newest)
                if copies is not None:
                    self.drop(copies, key)
                self._shrink(part, slots.pop(key))
                self.evictions += 1
                if self.bytes <= enough:  # large ones: a few of them would be half of the tier
                    break
            part.whole = True

    def _rebuild(self, part: Partition) -> None:
        """The slots are right, whatever else was left half done."""
        part.policy = SegmentedLRU()
        for key in part.slots:
            part.policy.add(key)
        part.bytes = sum(slot[7] + ENTRY_OVERHEAD for slot in part.slots.values())
        self.bytes = sum(map(_bytes, self._partitions.values()))
        self.entries = sum(len(it.slots) for it in self._partitions.values() if it.of is None)
        part.whole = True

    def _shrink(self, part: Partition, slot: tuple[Any, ...]) -> None:
        size = slot[7] + ENTRY_OVERHEAD
        part.bytes -= size
        self.bytes -= size
        self.entries -= part.of is None

    def forget_all(self) -> None:
        """In a child after a fork: a lock of its own and nothing held; slots are emptied in place, views refer to them."""
        self.lock = Lock()
        for part in self._partitions.values():
            self.empty(part)
        self.evictions = 0

    # The tier protocol, over frames.

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
            part = self._partitions.pop("cache:" + scope, None)
            if part is not None:
                self.empty(part)

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

    # The store-of-record protocol: a cache that stands alone.

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


def _bytes(part: Partition) -> int:
    return part.bytes


def _load(part: Partition) -> int:
    """What is there to be evicted; copies are not, by themselves."""
    if part.of is not None:
        return -1
    return part.bytes if part.copies is None else part.bytes + part.copies.bytes


def size_of(value: Any) -> int:
    """Bytes that an immutable value takes in memory; nested tuples and sets included."""
    size = getsizeof(value)
    if isinstance(value, (tuple, frozenset)):
        size += sum(map(size_of, value))
    return size
