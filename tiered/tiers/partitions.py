"""Entries in memory, bounded by their number and by bytes, read without a lock.

Readers look into a plain dict of immutable slots and note the access in a bounded, lossy buffer; whoever writes next
applies the buffer to the eviction policy, under the lock (after Caffeine). With four threads a lock on the read path
would cost ten times the look-up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from sys import getsizeof
from threading import Lock
from typing import Any, NamedTuple

from tiered.tiers.slru import SegmentedLRU

ENTRY_OVERHEAD = 400
"""Bytes that an entry costs beyond its key and value: dict places, slot, policy (benchmarks/memory_size.py)."""

RECORD = "record:"
"""Before the name of a namespace: the partition of its frames, if the tier is the store of record."""
ACCESS_BUFFER = 1024
SHARE, MOST = 128, 32
"""Once the limits are reached, one in `SHARE` of the entries leave together, `MOST` at most, or as few as take one in `SHARE` of
the bytes: what eviction takes to begin, it takes seldom, and nobody has to wait for long."""


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


def size_of(value: Any) -> int:
    """Bytes that an immutable value takes in memory; nested tuples and sets included."""
    size = getsizeof(value)
    if isinstance(value, (tuple, frozenset)):
        size += sum(map(size_of, value))
    return size


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


class Partitions:
    """The partitions of a memory tier, and their limits.

    `max_entries` and `max_bytes` bound the entries of all namespaces together; when one is exceeded, the largest
    namespace loses its coldest entries, a few at a time. Not counted are a namespace's notes of keys: those read last
    (`ACCESS_BUFFER`), and in a backend those changed of late (`inflight.FLOORS`). Every method needs `lock`.
    """

    def __init__(self, *, max_entries: int, max_bytes: int) -> None:
        self.max_entries, self.max_bytes = max_entries, max_bytes
        self.lock = Lock()  # guards policies, sizes and versions; never the slots against readers
        self.entries = self.bytes = self.evictions = 0
        self._partitions: dict[str, Partition] = {}

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
        """Forget everything in `part`. What others hold is looked at only if its own books are not right."""
        if not part.whole:
            self._rebuild(part)
        part.whole = False
        if part.of is None:
            self.entries -= len(part.slots)
        part.slots.clear()
        part.touched.clear()
        part.policy = SegmentedLRU()
        self.bytes -= part.bytes
        part.bytes = 0
        part.whole = True

    def forget_all(self) -> None:
        """In a child after a fork: a lock of its own and nothing held; slots are emptied in place, views refer to them."""
        self.lock = Lock()
        for part in self._partitions.values():
            self.empty(part)
        self.evictions = 0

    def _has_room(self, of: Partition, key: str, grown: int) -> bool:
        """For a copy of what is there, and will not be driven out by it."""
        return key in of.slots and (self.entries > 1 or self.bytes + grown <= self.max_bytes)

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

    def _shrink(self, part: Partition, slot: tuple[Any, ...]) -> None:
        size = slot[7] + ENTRY_OVERHEAD
        part.bytes -= size
        self.bytes -= size
        self.entries -= part.of is None

    def _rebuild(self, part: Partition) -> None:
        """The slots are right, whatever else was left half done."""
        part.policy = SegmentedLRU()
        for key in part.slots:
            part.policy.add(key)
        part.bytes = sum(slot[7] + ENTRY_OVERHEAD for slot in part.slots.values())
        self.bytes = sum(map(_bytes, self._partitions.values()))
        self.entries = sum(len(it.slots) for it in self._partitions.values() if it.of is None)
        part.whole = True


def _bytes(part: Partition) -> int:
    return part.bytes


def _load(part: Partition) -> int:
    """What is there to be evicted; copies are not, by themselves."""
    if part.of is not None:
        return -1
    return part.bytes if part.copies is None else part.bytes + part.copies.bytes
