"""The order of one key's writes, as far as a history proves it.

A *place* (version, after) says where something stands: (7, 0) is version 7 itself, (7, 1) somewhere above 7. Deletes and
updates are not told their version; where real time proves that one came after an acknowledged write, it is above it.
Counters are ordered by their own values.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from itertools import accumulate

from tiered.testing.chaos.history import Event, Token

Place = tuple[int, int]
NOWHERE: Place = (0, 0)
"""Where a key is that nobody has written."""
NO_LIMIT = 2**64


class Floors:
    """The highest place that was acknowledged up to a moment."""

    def __init__(self) -> None:
        self._ends: list[float] = []
        self._places: list[Place] = []

    def add(self, end: float, place: Place) -> None:
        """In the order of `end`."""
        self._ends.append(end)
        self._places.append(max(place, self._places[-1]) if self._places else place)

    def at(self, moment: float) -> Place:
        """The highest place of what had ended before `moment`."""
        index = bisect_left(self._ends, moment)
        return self._places[index - 1] if index else NOWHERE

    def passed(self, place: Place) -> float:
        """When something above `place` was first acknowledged; infinity if never."""
        index = bisect_right(self._places, place)
        return self._ends[index] if index < len(self._ends) else float("inf")


class Removals:
    """The deletes of a key, in the order of their starts: which of them explain that it was absent?

    A soak has tens of thousands, so most questions must not look at each.
    """

    def __init__(self, deletes: Iterable[tuple[float, int, Place]]) -> None:
        bounded, endless = list[tuple[float, int, Place]](), list[tuple[float, int, Place]]()
        for delete in deletes:
            (endless if delete[1] == NO_LIMIT else bounded).append(delete)
        self._bounded = bounded
        self._starts = [start for start, _, _ in bounded]
        self._highest = list(accumulate((high for _, high, _ in bounded), max))
        self._endless = [start for start, _, _ in endless]
        """Of those that may still happen."""
        self._lowest_endless = list(accumulate((low for _, _, low in endless), min))

    def explain(self, until: float, floor: Place) -> bool:
        """Whether one of them began before `until` and can be above `floor`."""
        index = bisect_left(self._starts, until)
        return bisect_left(self._endless, until) > 0 or (index > 0 and self._highest[index - 1] > floor[0] + 1)

    def lowest(self, until: float, floor: Place) -> Place | None:
        """The lowest place that one of those can have; None if there is none."""
        endless = bisect_left(self._endless, until)
        found = self._lowest_endless[endless - 1] if endless else None
        index = bisect_left(self._starts, until)
        while index and self._highest[index - 1] > floor[0] + 1:
            index -= 1
            _, high, low = self._bounded[index]
            if high > floor[0] + 1 and (found is None or low < found):
                found = low
        return found


class KeyOrder:
    """What is known of one key's writes, from all events of that key."""

    def __init__(self, events: Iterable[Event]) -> None:
        events = list(events)
        self.writes = sorted((e for e in events if e.write and not e.denied), key=lambda e: e.start)
        self.reads = sorted((e for e in events if not e.write and e.acknowledged), key=lambda e: e.end or 0)
        self.denied = {e.value for e in events if e.write and e.denied and e.value is not None}
        self.counter = any(e.op == "increment" for e in events)
        self.writers: dict[Token, Event] = {e.value: e for e in self.writes if e.value is not None}
        self.versions = self._learn(events)
        self.acknowledged = sorted((e for e in self.writes if e.acknowledged), key=lambda e: e.end or 0)
        self._bound_above()
        self.all, self.deletes = Floors(), Floors()
        self.own: defaultdict[str, Floors] = defaultdict(Floors)
        self.own_deletes: defaultdict[str, Floors] = defaultdict(Floors)
        for write in self.acknowledged:
            self._acknowledge(write)
        self.removals = Removals((e.start, self.high(e), self.low(e)) for e in self.writes if e.op == "delete")

    def version(self, event: Event) -> int:
        """The version of a write or of what was read; 0 if it never became known."""
        if event.value is None:
            return 0 if event.write else event.version
        if self.counter:
            return event.value if isinstance(event.value, int) else 0
        return self.versions.get(event.value, event.version)

    def low(self, write: Event) -> Place:
        """A place that `write` has at least."""
        known = self.version(write)
        return (known, 0) if known else (self.all.at(write.start)[0], 1)

    def high(self, write: Event) -> int:
        """A version that `write` stays below."""
        known = self.version(write)
        if known:
            return known + 1
        if not write.acknowledged or write.end is None:
            return NO_LIMIT  # it may still happen
        index = bisect_right(self._starts, write.end)
        return self._lowest_from[index] if index < len(self._starts) else NO_LIMIT

    def most(self, value: Token, version: int) -> int:
        """The highest version that `value` can have, read with `version`."""
        if known := self.versions.get(value, version):
            return known
        writer = self.writers.get(value)
        return NO_LIMIT if writer is None else self.high(writer) - 1

    def _learn(self, events: list[Event]) -> dict[Token, int]:
        """The version of each value, by its writer or by anyone who read it."""
        if self.counter:
            return {e.value: e.value for e in events if isinstance(e.value, int)}
        told = sorted((e for e in events if e.value is not None and e.version), key=lambda e: e.write)
        return {e.value: e.version for e in told}

    def _bound_above(self) -> None:
        """For each start, the lowest version known of the writes that began then or later."""
        known = [(e.start, v) for e in self.writes if (v := self.version(e))]
        self._starts = [start for start, _ in known]
        self._lowest_from = list(accumulate((v for _, v in reversed(known)), min))[::-1]

    def _acknowledge(self, write: Event) -> None:
        place, end = self.low(write), write.end or 0.0
        self.all.add(end, place)
        self.own[write.process].add(end, place)
        if write.op == "delete":
            self.deletes.add(end, place)
            self.own_deletes[write.process].add(end, place)
