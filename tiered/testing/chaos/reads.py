"""Whether what was read of one key was allowed to be read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tiered.testing.chaos.history import Event
from tiered.testing.chaos.order import NOWHERE, Floors, KeyOrder, Place

Found = tuple[str, Event, str, float]
"""Check, event, text, age in seconds."""


class Reads:
    """Judges the reads of one key."""

    def __init__(self, order: KeyOrder, delta: float) -> None:
        self._order, self._delta = order, delta
        self._seen: defaultdict[str, Floors] = defaultdict(Floors)
        self._valued: defaultdict[str, Floors] = defaultdict(Floors)
        """The same of values alone: whoever saw that a key was absent may see it again."""
        self.lagging = 0
        """Reads that were stale, but only in another process and within `delta`."""
        self.oldest = 0.0
        """The age of the oldest read that was stale in another process only."""

    def judged(self) -> Iterator[Found]:
        """Every read that broke a promise, once for each promise."""
        for read in self._order.reads:
            seen = self._seen[read.process].at(read.start)
            if read.value is None:
                yield from self._absent(read, self._valued[read.process].at(read.start))
            elif not self._foreign(read):
                yield from self._present(read, seen)
            else:
                yield from self._alien(read)

    def _foreign(self, read: Event) -> bool:
        """Nobody wrote this value, or who tried was told that it did not happen."""
        order = self._order
        if order.counter:
            return not isinstance(read.value, int)
        return read.value not in order.writers

    def _alien(self, read: Event) -> Iterator[Found]:
        kind = "dishonest" if read.value in self._order.denied else "wrong"
        yield kind, read, f"{_told(read)} {read.value!r:.60}", 0.0

    def _present(self, read: Event, seen: Place) -> Iterator[Found]:
        order = self._order
        most = order.most(read.value, 0 if order.counter else read.version), 0
        writer = order.writers.get(read.value)
        if writer is not None and read.end is not None and writer.start > read.end:
            yield "wrong", read, f"{_told(read)} {read.value} before it was written", 0.0
        yield from self._old(read, most)
        if most < seen:
            yield "back", read, f"{_told(read)} version {most[0]} after {_place(seen)}", 0.0
        known = order.version(read)
        for floors in (self._seen, self._valued):
            floors[read.process].add(read.end or 0.0, (known, 0) if known else NOWHERE)

    def _old(self, read: Event, most: Place) -> Iterator[Found]:
        order, process = self._order, read.process
        age = max(0.0, read.start - order.all.passed(most))
        own = most < order.own[process].at(read.start)
        late = most < order.all.at(self._horizon(read))
        if not own:
            self._lags(age, late)
        if not (own or late):
            return
        gone = order.own_deletes[process].at(read.start), order.deletes.at(self._horizon(read))
        if read.op == "final":
            check = "lost"
        elif most < max(gone):
            check = "resurrected"
        else:
            check = "stale" if own else "stale elsewhere"
        yield check, read, f"{_told(read)} version {most[0]}, overwritten {age:.3f} s before", age

    def _absent(self, read: Event, seen: Place) -> Iterator[Found]:
        order, end = self._order, read.end or 0.0
        due = max(order.own[read.process].at(read.start), order.all.at(self._horizon(read)))
        newest = order.all.at(read.start)
        if not self._explained(end, due):
            age = read.start - order.all.passed(NOWHERE)
            check = "lost" if read.op == "final" else "miss"
            yield check, read, f"{_told(read)} nothing, although {_place(due)} was acknowledged", age
        elif not self._explained(end, newest):
            self.lagging += 1
        if not self._explained(end, seen):
            yield "back", read, f"{_told(read)} nothing after {_place(seen)}, and nobody deleted it since", 0.0
        lowest = order.removals.lowest(end, max(seen, due))
        place = NOWHERE if lowest is None else lowest
        # Of the tombstone, or of the last write before the record said so.
        version = 0 if order.counter else read.version
        if version:
            place = max(place, (version - 1, 1))
        self._seen[read.process].add(end, place if lowest is not None or version else NOWHERE)

    def _explained(self, end: float, floor: Place) -> bool:
        """Whether the key may be absent although it had got to `floor`."""
        return floor == NOWHERE or self._order.removals.explain(end, floor)

    def _lags(self, age: float, late: bool) -> None:
        self.lagging += bool(age) and not late
        self.oldest = max(self.oldest, age)

    def _horizon(self, read: Event) -> float:
        """Whatever was acknowledged before this moment, by anyone, must be seen."""
        return read.start if read.op == "final" else read.start - self._delta


def _told(read: Event) -> str:
    where = f" from {read.tier}" if read.tier else ""
    return f"{read.process} {read.op} {read.key} at {read.start:.3f}{where}:"


def _place(place: Place) -> str:
    return f"a write above version {place[0]}" if place[1] else f"version {place[0]}"
