"""The comparison: the record page by page beside each cache tier, then what only the tiers have, then doubts again.

A difference is a fault only if it is still there after everything that was under way must have arrived: writers go on
working meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from time import sleep
from typing import Protocol

from tiered.chain import Chain
from tiered.errors import StoreError
from tiered.tiers.base import Inventory
from tiered.verification.copies import Copy, Place, compare, decoded, opened
from tiered.verification.pages import pages
from tiered.verification.progress import OnProgress, Progress
from tiered.verification.report import FAULTS, MENDABLE, Kind
from tiered.verification.suspects import Finding, Suspects, judge
from tiered.verification.tally import Tally

ATTEMPTS = 5


class Side(Protocol):
    """A cache tier or memory, as it is compared."""

    name: str
    tally: Tally

    def held(self, place: Place, generation: int, keys: Sequence[str]) -> list[Copy | None]: ...
    def alike(self, recorded: Copy, held: Copy) -> bool: ...
    def all(self, place: Place, generation: int) -> Iterator[list[tuple[str, Copy]]]: ...
    def owing(self, place: Place, keys: AbstractSet[str]) -> AbstractSet[str]: ...


OnFaults = Callable[[Side, Place, Sequence[Finding]], None]
"""Told of faults as they become certain, some at a time."""


class Verifier:
    """One comparison of `sides` with the record. For one thread; memory is bounded by a page and by `suspects.MOST`.

    Raises `StoreError` when the record fails. A side that fails is left out from there on, and its tally says why.
    """

    def __init__(
        self,
        chain: Chain,
        sides: Sequence[Side],
        tally: Tally,
        *,
        on_faults: OnFaults | None = None,
        on_progress: OnProgress | None = None,
        pause: Callable[[float], None] = sleep,
    ) -> None:
        self._chain, self._sides, self._tally = chain, sides, tally
        self._on_faults, self._on_progress, self._pause = on_faults, on_progress, pause
        self._suspects: dict[str, Suspects] = {}

    def run(self, namespace: str) -> None:
        """Compare one namespace."""
        place = Place.of(namespace, self._chain.rules)
        self._suspects = {side.name: Suspects() for side in self._sides}
        self._walk_record(place)
        for side in self._sides:
            self._walk(place, side)
        for side in self._sides:
            self._settle(place, side)

    # What the record has

    def _walk_record(self, place: Place) -> None:
        record, done, total = self._chain.record, 0, self._count(place)
        for items in pages(lambda cursor, limit: record.scan(place.name, "", cursor, limit)):
            recorded = self._intact(place, items)
            generation = record.generation(place.name)
            for side in self._sides:
                self._compare(place, side, generation, recorded)
            done += len(items)
            self._tell(place, "comparing", done, total)

    def _count(self, place: Place) -> int | None:
        """Only for those who watch: it may take a moment."""
        record = self._chain.record
        return record.count(place.name) if self._on_progress and isinstance(record, Inventory) else None

    def _intact(self, place: Place, items: Sequence[tuple[str, bytes]]) -> dict[str, Copy]:
        """Open the record's frames and count them. One that does not open is read again: it may have been replaced."""
        now, good = self._chain.clock.now(), dict[str, Copy]()
        for key, frame in items:
            copy = opened(place, key, frame, now)
            if copy is not None and copy.damaged:
                copy = opened(place, key, self._chain.record.read(place.name, key)[1], now)
            if copy is not None:
                copy = decoded(copy, self._chain.decode)
                self._tally.add(copy.fault or Kind.SAME, place.name, key, copy.reason)
                if not copy.damaged:
                    good[key] = copy
        return good

    def _compare(self, place: Place, side: Side, generation: int, recorded: dict[str, Copy]) -> None:
        held = self._held(place, side, generation, list(recorded))
        if held is None:
            return
        for (key, mine), its in zip(recorded.items(), held, strict=True):
            self._note(place, side, key, mine, its)
        if self._suspects[side.name].full:
            self._settle(place, side)

    def _note(self, place: Place, side: Side, key: str, recorded: Copy | None, held: Copy | None) -> None:
        kind = self._kind(side, recorded, held)
        if held is not None and kind in FAULTS:
            self._suspects[side.name].add(key, kind, held, recorded, self._chain.clock.monotonic())
        elif kind is not None:
            side.tally.add(kind, place.name, key)

    # What only a side has

    def _walk(self, place: Place, side: Side) -> None:
        """Each key that is alive there, or damaged, is looked up in the record; what the record has was compared."""
        generation, done = self._chain.record.generation(place.name), 0
        total = sum(side.tally.counts[kind] for kind in Kind if kind is not Kind.MISSING)
        try:
            for copies in side.all(place, generation) if not side.tally.error else ():
                alive = {key: copy for key, copy in copies if not copy.absent}
                self._strays(place, side, alive)
                done += len(copies)
                self._tell(place, f"searching {side.name}", done, max(done, total))
        except StoreError as error:
            self._lost(side, error)

    def _strays(self, place: Place, side: Side, alive: dict[str, Copy]) -> None:
        if not alive:
            return
        _, frames = self._chain.record.read_many(place.name, list(alive))
        for (key, copy), frame in zip(alive.items(), frames, strict=True):
            if frame is None:
                self._note(place, side, key, None, copy)
        if self._suspects[side.name].full:
            self._settle(place, side)

    # Doubts

    def _settle(self, place: Place, side: Side) -> None:
        """Look at every suspect again, when what was under way at the first look has arrived or is owed."""
        suspects = self._suspects[side.name]
        if not suspects or side.tally.error:
            return
        wait = suspects.since + _grace(self._chain) - self._chain.clock.monotonic()
        if wait > 0:
            self._tell(place, "waiting for what is under way", 0, 0)
            self._pause(wait)
        done, total = 0, len(suspects)
        for some in suspects.take():
            owing = side.owing(place, some.keys())  # before the look: a mark goes after its put
            found = list[Finding]()
            for key, held, recorded in self._look(place, side, list(some)):
                if recorded is not None and recorded.damaged:
                    continue
                kind = self._kind(side, recorded, held)
                kind = judge(some[key], kind, held, owing=key in owing)
                if kind is not None:
                    side.tally.add(kind, place.name, key, held.reason if held is not None else "")
                if kind in MENDABLE and held is not None:
                    found.append(Finding(key, kind, held, recorded))
            if found and self._on_faults:
                self._on_faults(side, place, found)
            done += len(some)
            self._tell(place, f"looking at {side.name} again", done, total)

    def _look(self, place: Place, side: Side, keys: list[str]) -> Iterator[tuple[str, Copy | None, Copy | None]]:
        """Each key's copies, the side's read before the record's, and both in one generation."""
        record = self._chain.record
        for _ in range(ATTEMPTS):
            generation = record.generation(place.name)
            held = self._held(place, side, generation, keys)
            if held is None:
                return
            after, frames = record.read_many(place.name, keys)
            if after == generation:
                now = self._chain.clock.now()
                for key, its, frame in zip(keys, held, frames, strict=True):
                    yield key, its, opened(place, key, frame, now)
                return

    # Both

    def _kind(self, side: Side, recorded: Copy | None, held: Copy | None) -> Kind | None:
        """`compare`, where keys that open all that the record has are taken for the right ones."""
        kind = compare(recorded, held, side.alike)
        return Kind.DAMAGED if kind is Kind.UNREADABLE and not self._tally.counts[kind] else kind

    def _held(self, place: Place, side: Side, generation: int, keys: list[str]) -> list[Copy | None] | None:
        if side.tally.error or not keys:
            return None
        try:
            return side.held(place, generation, keys)
        except StoreError as error:
            self._lost(side, error)
            return None

    def _lost(self, side: Side, error: StoreError) -> None:
        if error.tier == self._chain.record.name:
            raise error
        side.tally.error = str(error)

    def _tell(self, place: Place, step: str, done: int, total: int | None) -> None:
        if self._on_progress:
            self._on_progress(Progress(place.name, step, done, total))


def _grace(chain: Chain) -> float:
    """Seconds after which an acknowledged write is seen everywhere, and one that was under way is acknowledged or owed."""
    return chain.deadline + (chain.trust.staleness if chain.shared else 0.0)
