"""Making a tier agree with the record again: put-if-newer where that can do it, else a new generation."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from time import monotonic

from tiered.chain import Chain, Space
from tiered.errors import StoreError
from tiered.tiers.base import Enumerable, Write
from tiered.verification.cache_side import CacheSide
from tiered.verification.copies import Place
from tiered.verification.memory_side import MemorySide
from tiered.verification.report import Kind
from tiered.verification.suspects import Finding
from tiered.verification.tally import Tally

Bury = Callable[[str, Sequence[Write]], object]
"""Writes to a namespace as the backend does: committed by the record, which gives versions that win, then published."""


class Mender:
    """Mends what it is told of. For one thread; raises `StoreError` when the record fails.

    What cannot be mended in place waits for `finish`, which starts one new generation for all of it: then caches are
    empty, which costs speed, and nothing they held is read again. A dry run only finds out whether that is needed, as
    far as it can be told without trying.
    """

    def __init__(self, chain: Chain, bury: Bury, *, dry_run: bool) -> None:
        self._chain, self._bury, self.dry_run = chain, bury, dry_run
        self._waiting = defaultdict[Tally, Counter[Kind]](Counter)
        self.new_generation = False

    def mend(self, side: object, place: Place, found: Sequence[Finding]) -> None:
        """Mend these faults of one side, or leave them to `finish`."""
        if isinstance(side, MemorySide):
            if not self.dry_run:
                self._drop(side, place, found)
        elif isinstance(side, CacheSide):
            self.new_generation |= any(_lasting(side, finding) for finding in found)
            if not self.dry_run:
                self._mend(side, place, found)

    def finish(self) -> None:
        """Start a new generation if anything needs one."""
        if not self.new_generation or self.dry_run:
            return
        self._chain.record.bump()
        self._chain.record_stats.bumps["repair"] += 1
        for space in self._chain.spaces():
            self._chain.learn(space, self._chain.record.generation(space.name))
        for tally, kinds in self._waiting.items():
            tally.mended += kinds

    # Memory

    def _drop(self, side: MemorySide, place: Place, found: Sequence[Finding]) -> None:
        """The next read asks below. A slot that was replaced meanwhile is another one."""
        with self._chain.memory.lock:
            self._drop_from(self._chain.space(place.name), found)
        side.tally.mended.update(finding.kind for finding in found)

    def _drop_from(self, space: Space, found: Sequence[Finding]) -> None:
        """With the lock; a function of its own, as `Writer._admit`."""
        for key, _, held, recorded in found:
            if space.part.slots.get(key) is held.content:
                self._chain.memory.drop(space.part, key)
                space.flights.reach(key, recorded.version if recorded else held.version + 1)

    # Remote tiers

    def _mend(self, side: CacheSide, place: Place, found: Sequence[Finding]) -> None:
        if self.new_generation:  # whatever is put now would soon be invisible
            self._waiting[side.tally].update(finding.kind for finding in found)
            return
        try:
            self._in_place(side, place, found)
            left = self._left(side, place, found)
        except StoreError as error:
            if error.tier == self._chain.record.name:
                raise
            side.tally.error = str(error)
            return
        side.tally.mended.update(finding.kind for finding in found if finding.key not in left)
        if left:
            self.new_generation = True
            self._waiting[side.tally].update(finding.kind for finding in found if finding.key in left)

    def _in_place(self, side: CacheSide, place: Place, found: Sequence[Finding]) -> None:
        record, tier = self._chain.record, side.guard.tier
        damaged = [(it.key, it.held.content) for it in found if it.kind is Kind.DAMAGED]
        if damaged and isinstance(tier, Enumerable):
            tier.discard(f"{place.name}:{record.generation(place.name)}", damaged)
        gone = [it.key for it in found if it.kind is Kind.RESURRECTABLE]
        if gone:
            now = self._chain.clock.now()
            # Only if it is still absent: the key may have been written since.
            self._bury(place.name, [Write(key, place.frames.tombstone(key, now), expect=0) for key in gone])
        behind = [it.key for it in found if it.kind is not Kind.RESURRECTABLE]
        if behind:
            since = monotonic()
            generation, frames = record.read_many(place.name, behind)
            items = [(key, frame) for key, frame in zip(behind, frames, strict=True) if frame is not None]
            tier.put_many(f"{place.name}:{generation}", items, since=since, tell=True)

    def _left(self, side: CacheSide, place: Place, found: Sequence[Finding]) -> set[str]:
        """The keys whose bytes are what they were, though nobody failed: what the tier holds is of a higher version."""
        keys = [finding.key for finding in found]
        if self._chain.record.journal is not None:
            self._chain.record.journal.flush()  # what was confirmed just now is no longer on its way
        owing = side.owing(place, frozenset(keys))
        held = side.held(place, self._chain.record.generation(place.name), keys)
        return {
            finding.key
            for finding, now in zip(found, held, strict=True)
            if now is not None and now.content == finding.held.content and finding.key not in owing
        }


def _lasting(side: CacheSide, finding: Finding) -> bool:
    """Whether put-if-newer cannot mend this. Damaged bytes may show any version: they are removed, not outbid."""
    if finding.kind is Kind.DAMAGED:
        return not isinstance(side.guard.tier, Enumerable)
    return finding.kind not in (Kind.OLDER, Kind.RESURRECTABLE)
