"""The write path: the store of record first, then the cache tiers, then the caller hears of it.

Nothing is published before it is durable: if the commit raises, no tier has changed. A cache tier that does not take
the write owes it, and a pending mark that was committed with the value says so to every process.
"""

from __future__ import annotations

from collections.abc import Sequence

from tiered.chain import Chain, Space
from tiered.entry import MAX_VERSION, Draft, Entry
from tiered.errors import Ambiguous
from tiered.replication.inflight import InFlight
from tiered.results import TierOutcome, WriteOutcome
from tiered.tiers.base import Commit, Write, Written

Result = tuple[Written, WriteOutcome | None]
"""What the record did, and the outcome for the caller (None if a condition did not hold)."""


class Writer:
    """Writes of one chain. Thread-safe."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def write(self, space: Space, writes: Sequence[Write]) -> list[Result]:
        """Commit `writes` and publish them; raises `NotApplied` or `Ambiguous` with no tier half-written."""
        chain = self._chain
        with chain.memory.lock:
            entries = [(write.key, space.flights.begin(write.key)) for write in writes]
            epoch = space.flights.epoch
        try:
            started = chain.clock.monotonic()
            commit = chain.record.commit(space.name, writes, marks=chain.marks, now=chain.clock.now())
            chain.learn(space, commit.generation)
            memory = self._into_memory(space, writes, commit, entries, epoch, started)
            tiers = self._into_caches(space, writes, commit)
        except Ambiguous:
            self._doubt(space, writes)
            raise
        finally:
            with chain.memory.lock:
                for key, entry in entries:
                    space.flights.end(key, entry)
        return self._outcomes(commit, memory, tiers)

    def _into_memory(
        self,
        space: Space,
        writes: Sequence[Write],
        commit: Commit,
        entries: list[tuple[str, InFlight]],
        epoch: int,
        started: float,
    ) -> list[bool]:
        """Overtake what is under way, then admit or drop, in one step under the lock (R2). True where memory holds it."""
        memory, flights = self._chain.memory, space.flights
        slots = [
            self._chain.slot(write.key, _entry(write.draft, written.version), started)
            if written.version and not write.draft.tombstone
            else None
            for write, written in zip(writes, commit.written, strict=True)
        ]
        held: list[bool] = []
        with memory.lock:
            for slot, written, (key, entry) in zip(slots, commit.written, entries, strict=True):
                newest = 0 < written.version >= entry.floor
                if written.version:
                    flights.mark(key, written.version)
                if newest and slot is not None and epoch == flights.epoch:
                    held.append(memory.admit(space.part, key, *slot))
                else:
                    if newest:
                        memory.drop(space.part, key)
                    held.append(newest and slot is None)
        return held

    def _into_caches(self, space: Space, writes: Sequence[Write], commit: Commit) -> dict[str, TierOutcome]:
        items = [(w.key, it.frame) for w, it in zip(writes, commit.written, strict=True) if it.version]
        scope = f"{space.name}:{commit.generation}"
        tiers: dict[str, TierOutcome] = {}
        for guard in self._chain.guards:
            if items and guard.put(space.name, scope, items):
                done = [(w.key, it.version) for w, it in zip(writes, commit.written, strict=True) if it.version]
                self._chain.confirm(guard, space, commit.generation, done)
                tiers[guard.name] = "ok"
            else:
                tiers[guard.name] = "queued"
        tiers[self._chain.record.name] = "ok"
        return tiers

    def _doubt(self, space: Space, writes: Sequence[Write]) -> None:
        """A write may or may not have happened: no copy of these keys may answer before the record was asked."""
        with self._chain.memory.lock:
            for write in writes:
                self._chain.memory.drop(space.part, write.key)
                space.flights.mark(write.key, MAX_VERSION)
        for guard in self._chain.guards:
            for write in writes:
                guard.owe(space.name, write.key, MAX_VERSION)

    def _outcomes(self, commit: Commit, memory: list[bool], tiers: dict[str, TierOutcome]) -> list[Result]:
        chain = self._chain
        if not chain.has_memory or chain.memory is chain.record:
            kinds = {True: tiers, False: tiers}
        else:
            kinds = {held: {chain.memory.name: "ok" if held else "skipped", **tiers} for held in (True, False)}
        return [
            (written, WriteOutcome(written.version, kinds[held]) if written.version else None)
            for written, held in zip(commit.written, memory, strict=True)
        ]


def _entry(draft: Draft, version: int) -> Entry:
    """What opening the sealed frame would give."""
    return Entry(draft.flags, draft.codec, version, draft.expires_at, draft.keep_until, draft.payload)
