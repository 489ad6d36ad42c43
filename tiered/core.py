"""The core of a store: what threads and tasks do in one namespace, for `TieredBackend` and `AsyncTieredBackend`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import Any

from tiered.arguments import Ttl, check_key, check_keys, check_namespace
from tiered.clock import SYSTEM_CLOCK
from tiered.drafting import Drafter, own
from tiered.entry import Entry
from tiered.errors import CodecError, InvalidValue, NotApplied, StoreError
from tiered.found import Found, Said, Unproven
from tiered.loading import Loads
from tiered.results import Lookup, WriteOutcome
from tiered.service import Service
from tiered.tiers.base import Write
from tiered.updating import Updates
from tiered.writing import Result

PAGE = 500
"""Entries that are enumerated at a time."""


class Core:
    """One namespace of a chain. Thread-safe; raises what `TieredBackend` says of its methods."""

    def __init__(self, service: Service, namespace: str) -> None:
        chain = service.chain
        self.service, self.chain, self.space = service, chain, chain.space(check_namespace(namespace))
        self.drafter = Drafter(chain, self.space)
        draft = self.drafter.one
        self.loads = Loads(service.loading, self.space, service.reader, draft, self.write)
        self.updates = Updates(chain, self.space, self.ready, draft, partial(self.write, op="update"))
        self.stats = self.space.stats
        self._gets = self.stats.operations["get"]
        self.held, self.touched = self.space.part.slots.get, self.space.part.touched.append
        """The slots of memory, and the buffer that notes accesses."""
        self.monotonic = monotonic if chain.clock is SYSTEM_CLOCK else chain.clock.monotonic

    def ready(self, *, write: bool = False) -> None:
        """Before anything below memory is asked."""
        if self.chain.closed or not self.space.ready:
            self.service.enter(self.space, write=write)

    # Reading

    def find(self, key: str, slot: tuple[Any, ...] | None) -> Found:
        """What is not in memory, or in a `slot` whose time is over."""
        if type(key) is not str or not key.isascii() or not 0 < len(key) <= self.chain.max_key_bytes:
            key = check_key(key, self.chain.max_key_bytes)
        return (slot is not None and self.prolonged(key, slot)) or self.below(key)

    def in_memory(self, key: str, now: float) -> Found | None:
        """What memory has of `key` and may serve, counted; refuses a bad key."""
        key = check_key(key, self.chain.max_key_bytes)
        slot = self.held(key)
        if slot is None or slot[1] <= now:
            return None if slot is None else self.prolonged(key, slot)
        self.stats.memory_hits += 1
        self.touched(key)
        return Found(slot, self.chain.memory.name, slot[3])

    def prolonged(self, key: str, slot: tuple[Any, ...]) -> Found | None:
        """What is in a `slot` whose time is over, if it may be served for longer, counted."""
        if not self.chain.prolong(self.space, key, slot):
            return None
        self.stats.memory_hits += 1
        return Found(slot, self.chain.memory.name, slot[3])

    def below(self, key: str) -> Found:
        """What is below memory, counted."""
        began = monotonic()
        try:
            if self.chain.closed or not self.space.ready:
                self.ready()
            found = self.service.reader.read(self.space, key)
        except StoreError:
            self.failed(began)
            raise
        self.found(found, began)
        return found

    def found(self, found: Found, began: float) -> None:
        """Count a `get` below memory; as `operation` does, at a third of what that costs."""
        self._gets.ok += 1
        self._gets.duration.observe(monotonic() - began)
        if found[0] is None:
            self.stats.found(found.tier, False)
        else:
            self.stats.hits_below[found[1]] += 1

    def failed(self, began: float) -> None:
        """Count a `get` that raises."""
        self.stats.read_errors += 1
        self._gets.failed(monotonic() - began)

    def from_memory(self, keys: Iterable[str]) -> tuple[list[str], dict[str, Any], list[str]]:
        """`keys` without repetitions, the values that memory has, and the keys to be looked for below."""
        values, below, now = dict[str, Any](), list[str](), self.monotonic()
        wanted = check_keys(keys, self.chain.max_key_bytes)
        for key in wanted:
            slot = self.held(key)
            if slot is not None and (slot[1] > now or self.chain.prolong(self.space, key, slot)):
                self.touched(key)
                values[key] = value_of(slot)
            else:
                below.append(key)
        count = len(values)
        self.stats.many_hits += count
        return wanted, values, below

    def below_many(self, keys: list[str]) -> dict[str, Found]:
        """`below` of each, not counted."""
        self.ready()
        return self.service.reader.read_many(self.space, keys)

    def read_together(self, keys: Collection[str], said: Mapping[str, Said]) -> dict[str, Found | Exception]:
        """`below` of each key, or what it raises, for callers who wait at the same moment; not counted."""
        found, left, now = dict[str, Found | Exception](), list[str](), self.monotonic()
        for key in keys:
            slot = self.held(key)
            if slot is not None and slot[1] > now:  # one who waited shortly before has brought it
                found[key] = Found(slot, self.chain.memory.name, slot[3])
            else:
                left.append(key)
        if left:
            self.ready()
            found.update(self.service.reader.read_together(self.space, left, said))
        return found

    def add(self, values: dict[str, Any], found: Mapping[str, Found]) -> None:
        """What was found below memory to what memory had, counted."""
        for key, it in found.items():
            self.stats.found(it.tier, it.slot is not None)
            if it.slot is not None:
                values[key] = value_of(it.slot)

    def shown(self, found: Found, now: float) -> Lookup:
        """For a caller who began at `now`."""
        slot, unproven = found.slot, type(found) is Unproven
        if slot is None:
            return Lookup(False, tier=found.tier, version=found.version, unproven=unproven)
        age = max(0.0, now - slot[5]) if found.tier == self.chain.memory.name else 0.0
        return Lookup(True, value_of(slot), found.tier, slot[3], slot[4] / 1000 if slot[4] else None, age, unproven)

    def ttl(self, found: Lookup) -> float | None:
        """How long what was found lives, in seconds; None for an absence."""
        if not found.found:
            return None
        if found.expires_at is None:
            return float("inf")
        left = found.expires_at - self.chain.clock.now() / 1000
        return left if left > 0 else None  # it has come to its end since it was found

    def items(self, prefix: str) -> Iterator[tuple[str, Any]]:
        """Of the store of record, in pages."""
        for key, entry in self.entries(prefix):
            try:
                value = self.chain.decode(entry)
            except CodecError as error:
                raise self.chain.unusable(error) from error
            yield key, value

    def entries(self, prefix: str) -> Iterator[tuple[str, Entry]]:
        """As they are stored."""
        cursor: str | None = None
        while True:
            self.ready()
            page = self.chain.record.scan(self.space.name, prefix, cursor, PAGE)
            for key, frame in page.items:
                try:
                    entry = self.space.frames.open(frame, key)
                except CodecError as error:
                    raise self.chain.unusable(error) from error
                if not entry.absent(self.chain.clock.now()):
                    yield key, entry
            if (cursor := page.cursor) is None:
                return

    # Writing

    def draft(self, key: str, value: Any, ttl: Ttl, expect: int | None = None) -> tuple[Write, Any]:
        """A checked write of `value`, and the value beside it, as it is now."""
        value = own(value)
        return self.drafter.one(key, value, ttl, expect), value

    def drafts(self, values: Mapping[str, Any], ttl: Ttl) -> tuple[list[Write], list[Any]]:
        """Checked writes of `values`, and the values beside them; `outcomes` has the caller's result."""
        if not hasattr(values, "items"):
            raise InvalidValue(f"set_many takes a mapping of keys to values, not a {type(values).__name__}")
        items = [(key, own(value)) for key, value in values.items()]
        return self.drafter.several(items, ttl), [value for _, value in items]

    def outcomes(self, writes: Sequence[Write], results: Sequence[Result]) -> dict[str, WriteOutcome]:
        """For the caller of a `set_many`, counted."""
        count = len(writes)
        self.stats.sets += count
        return {write.key: outcome for write, (_, outcome) in zip(writes, results, strict=True) if outcome}

    def existed(self, writes: Sequence[Write], results: Sequence[Result]) -> dict[str, bool]:
        """For the caller of a `delete_many`, counted."""
        count = len(writes)
        self.stats.deletes += count
        return {write.key: written.existed for write, (written, _) in zip(writes, results, strict=True)}

    def write(self, write: Write, value: Any, *, op: str = "set") -> Result:
        """One write of one caller, counted."""
        result = self.counted(op, (write,), (value,))[0]
        count = bool(result[0].version)
        self.stats.sets += count
        return result

    def counted(self, op: str, writes: Sequence[Write], values: Sequence[Any]) -> list[Result]:
        """`commit` for one caller."""
        with self.stats.operation(op) as it:
            results = self.commit(writes, values)
            it.degraded = self.is_degraded(results)
        return results

    def is_degraded(self, results: Sequence[Result]) -> bool:
        """Whether a cache tier did not take a write when it was given it."""
        if self.service.feeder is not None:
            return False
        applied = next((outcome for _, outcome in results if outcome), None)  # a cache tier took all of them or none
        return applied is not None and "queued" in applied.tiers.values()

    def commit(self, writes: Sequence[Write], values: Sequence[Any]) -> list[Result]:
        """Writes of any number of callers, all or none."""
        self.ready(write=True)
        return self.service.writer.write(self.space, writes, values) if writes else []

    def clear(self) -> None:
        """Every key of the namespace."""
        self.ready(write=True)
        chain, space, old = self.chain, self.space, self.space.scope
        try:
            chain.learn(space, chain.record.clear(space.name))
        except NotApplied:
            raise
        except BaseException:  # Ambiguous, or a signal's exception: what memory holds may be gone from the record
            self._forget_all()
            raise
        self._forget_all()
        chain.record_stats.bumps["clear"] += 1
        for guard in chain.guards:
            if guard.breaker.closed:
                guard.forget(old)

    def _forget_all(self) -> None:
        """Empty the namespace's memory, also of what is on its way there."""
        with self.chain.memory.lock:
            self.chain.memory.empty(self.space.part)
            self.space.flights.renew()


def value_of(slot: tuple[Any, ...]) -> Any:
    """The value in a slot of memory, for the caller to keep."""
    decode = slot[2]
    return slot[0] if decode is None else decode(slot[0])
