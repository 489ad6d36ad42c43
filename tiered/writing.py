"""The write path: the store of record first, then the cache tiers, then the caller hears of it.

Nothing is published before it is durable: if the commit raises, no tier has changed. A cache tier that does not take
the write owes it, and a pending mark that was committed with the value says so to every process.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any

from tiered.chain import Chain, Space
from tiered.entry import MAX_VERSION
from tiered.errors import NotApplied, StoreError
from tiered.replication.feeder import Feeder
from tiered.results import TierOutcome, WriteOutcome
from tiered.tiers.base import Commit, Write, Written

Result = tuple[Written, WriteOutcome | None]
"""What the record did, and the outcome for the caller (None if a condition did not hold)."""

_new: Any = tuple.__new__  # a named tuple's own constructor costs twice as much


class Writer:
    """Writes of one chain. Thread-safe."""

    def __init__(self, chain: Chain, feeder: Feeder | None = None) -> None:
        self._chain, self._feeder = chain, feeder

    def write(self, space: Space, writes: Sequence[Write], values: Sequence[Any] | None) -> list[Result]:
        """Commit `writes` of `values` and publish them; raises `NotApplied` or `Ambiguous`, no tier half-written.

        Memory does not get to hold what has no `values`.
        """
        chain = self._chain
        started, since = chain.clock.monotonic(), monotonic()
        events = space.flights.events
        try:
            commit = self._commit(space, writes, started)
            if commit.generation != space.generation:
                chain.learn(space, commit.generation)
            self._owe(space, writes, commit)
            size = sum([len(frame) for _, frame, _ in commit.written])
            chain.record_stats.written_bytes += size
            held = self._into_memory(space, writes, values, commit, events, started)
            tiers = self._into_caches(space, writes, commit, since) if chain.guards else {}
        except NotApplied:
            raise
        except BaseException:  # Ambiguous, or a signal's exception after the commit
            self._doubt(space, writes)
            raise
        return self._outcomes(commit, held, tiers)

    def _commit(self, space: Space, writes: Sequence[Write], started: float) -> Commit:
        chain = self._chain
        try:
            commit = chain.record.commit(space.name, writes, marks=chain.marks, now=chain.clock.now())
        except StoreError as error:
            chain.last_write.failed(error, chain.clock.monotonic() - started)
            raise
        chain.record_stats.timed("commit", chain.clock.monotonic() - started)
        return commit

    def _owe(self, space: Space, writes: Sequence[Write], commit: Commit) -> None:
        """Until it has taken the write, every cache tier owes it: no read that begins from here on finds the old there."""
        for guard in self._chain.guards:
            guard.owe_many(
                space.name, [(w.key, it.version) for w, it in zip(writes, commit.written, strict=True) if it.version]
            )

    def _into_memory(
        self,
        space: Space,
        writes: Sequence[Write],
        values: Sequence[Any] | None,
        commit: Commit,
        events: int,
        started: float,
    ) -> list[bool]:
        """Overtake what is under way, then admit or drop, in one step under the lock (R2). True where memory holds it."""
        slots = self._slots(writes, values, commit, started)
        with self._chain.memory.lock:
            return self._admit(space, writes, slots, commit, events)

    def _admit(
        self,
        space: Space,
        writes: Sequence[Write],
        slots: list[tuple[Any, ...] | None],
        commit: Commit,
        events: int,
    ) -> list[bool]:
        """With the lock. A function of its own: see tests/unit/test_interruptible.py."""
        memory, flights, part = self._chain.memory, space.flights, space.part
        quiet, held = events == flights.events, list[bool]()
        for slot, (version, _, _), write in zip(slots, commit.written, writes, strict=True):
            key = write.key
            if not version:
                held.append(False)
            elif not quiet and version < flights.floor(key, events):
                memory.drop_older(part, key, version)  # something newer is known
                held.append(False)
            elif slot is None:
                memory.drop(part, key)
                held.append(True)
            else:
                held.append(memory.admit(part, key, slot))
            if version:
                flights.change(key, version)
        return held

    def _slots(
        self, writes: Sequence[Write], values: Sequence[Any] | None, commit: Commit, started: float
    ) -> list[tuple[Any, ...] | None]:
        """What memory is to hold of each write; nothing of a delete, or of a condition that did not hold."""
        if values is None:
            return [None] * len(writes)
        slot_of, until = self._chain.slot, self._chain.trust.record_until(started)
        return [
            slot_of(key, value, draft[4], version, draft[2], started, until) if version and not draft[0] else None
            for (key, draft, *_), value, (version, _, _) in zip(writes, values, commit.written, strict=True)
        ]

    def _into_caches(
        self, space: Space, writes: Sequence[Write], commit: Commit, since: float
    ) -> dict[str, TierOutcome]:
        if self._feeder is not None:  # the marks are in the record, and the keys are owed
            self._feeder.wake()
            applied = sum(it.version > 0 for it in commit.written)
            for guard in self._chain.guards:
                guard.queue(applied)
            return dict.fromkeys(self._chain.marks, "queued")
        items = [(w.key, it.frame) for w, it in zip(writes, commit.written, strict=True) if it.version]
        tiers: dict[str, TierOutcome] = {}
        for guard in self._chain.guards:
            if items and guard.put(space.name, commit.generation, items, since, tell=True):
                done = [(w.key, it.version) for w, it in zip(writes, commit.written, strict=True) if it.version]
                self._chain.confirm(guard, space, commit.generation, done)
                tiers[guard.name] = "ok"
            else:
                if items:
                    self._chain.tell_hosts(guard, space, [key for key, _ in items])
                tiers[guard.name] = "queued"
        return tiers

    def _doubt(self, space: Space, writes: Sequence[Write]) -> None:
        """A write may or may not have happened: no copy of these keys may answer before the record was asked."""
        for guard in self._chain.guards:
            guard.owe_many(space.name, [(write.key, MAX_VERSION) for write in writes])
        with self._chain.memory.lock:
            for write in writes:
                self._chain.memory.drop(space.part, write.key)
                space.flights.change(write.key, MAX_VERSION)
            space.flights.renew()  # nobody knows the version, so nothing that is under way may enter

    def _outcomes(self, commit: Commit, held: list[bool], tiers: dict[str, TierOutcome]) -> list[Result]:
        chain = self._chain
        below: dict[str, TierOutcome] = {**tiers, chain.record.name: "ok"}
        kept = missed = below
        if chain.has_memory and chain.memory is not chain.record:
            kept, missed = {chain.memory.name: "ok", **below}, {chain.memory.name: "skipped", **below}
        return [
            (written, _new(WriteOutcome, (written[0], kept if it else missed)) if written[0] else None)
            for written, it in zip(commit.written, held, strict=True)
        ]
