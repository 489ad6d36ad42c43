"""What each key has been, and which of it a process may still be shown."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

from tests.clocks import HandClock

Place = tuple[str, str]
"""A namespace and a key."""
NEVER = float("inf")
ABSENT = type("Absent", (), {"__repr__": lambda _: "ABSENT"})()


class State(NamedTuple):
    """A key from `at` on (monotonic seconds); with `until` (Unix ms) it expires by itself."""

    value: Any
    until: float
    at: float


class Histories:
    """The model: a dict with expiry that remembers, since another process may lag behind by less than `staleness`."""

    def __init__(self, clock: HandClock, staleness: float) -> None:
        self._clock, self._staleness = clock, staleness
        self._states: defaultdict[Place, list[State]] = defaultdict(lambda: [State(ABSENT, NEVER, -NEVER)])
        self._seen: defaultdict[tuple[object, Place], int] = defaultdict(int)

    def write(self, process: object, place: Place, value: Any, until: float = NEVER) -> None:
        """An acknowledged write: every later read of `process` shows it or something newer."""
        states = self._states[place]
        states.append(State(value, until, self._clock.monotonic()))
        self._seen[process, place] = len(states) - 1

    def clear(self, process: object, namespace: str) -> None:
        for place in [place for place in self._states if place[0] == namespace]:
            self.write(process, place, ABSENT)

    def now(self, place: Place) -> Any:
        """What the store of record has."""
        return self._shown(self._states[place][-1])

    def until(self, place: Place) -> float:
        """The expiry of what the store of record has."""
        return self._states[place][-1].until if self.now(place) is not ABSENT else NEVER

    def all(self, namespace: str) -> dict[str, Any]:
        """What the store of record has in `namespace`."""
        places = sorted(place for place in self._states if place[0] == namespace)
        return {place[1]: self.now(place) for place in places if self.now(place) is not ABSENT}

    def check(self, process: object, place: Place, value: Any) -> None:
        """`process` was shown `value`: it must not be older than what it has seen, nor than others were told δ ago."""
        states, now = self._states[place], self._clock.monotonic()
        first = self._seen[process, place]
        while first < len(states) - 1 and states[first + 1].at <= now - self._staleness:
            first += 1
        for number in range(first, len(states)):
            shown = self._shown(states[number])
            if type(shown) is type(value) and shown == value:
                self._seen[process, place] = number
                return
        allowed = [self._shown(state) for state in states[first:]]
        raise AssertionError(f"{process} was shown {value!r} for {place}; allowed: {allowed}, of {states} at {now}")

    def _shown(self, state: State) -> Any:
        return state.value if state.until > self._clock.now() else ABSENT
