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

    def absences(self, until: float, floor: Place) -> list[Event]:
        """The deletes that began before `until` and can be above `floor`."""
        return [d for d in self._removals if d.start < until and self.high(d) > floor[0] + 1]

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
        self._removals = [e for e in self.writes if e.op == "delete"]

    def _acknowledge(self, write: Event) -> None:
        place, end = self.low(write), write.end or 0.0
        self.all.add(end, place)
        self.own[write.process].add(end, place)
        if write.op == "delete":
            self.deletes.add(end, place)
            self.own_deletes[write.process].add(end, place)
