"""What happens to keys while reads and writes are under way: the guard that keeps old versions out of memory.

(PROTOCOL R2, R3, R4, R11.) Whatever makes a key reach a version (a commit, a message, a read that returns) is an
*event* and leaves a *floor*. An operation notes the number of events when it begins; at its end, what is below a floor
of a later event does not enter memory. A read that others may join is its key's `leader`; every event on the key removes
it, so that later readers start their own.
"""

from __future__ import annotations

from typing import Any

from tiered.entry import MAX_VERSION

FLOORS = 4096
"""Past so many floors they are forgotten; what was under way then populates nothing."""


class Flight:
    """One read under way. A follower makes `done` under the owner's lock and waits for it; the leader releases it."""

    answer: Any = None
    error: BaseException | None = None
    done: Any = None

    def __init__(self, started: float) -> None:
        self.started = started


class Watch:
    """What is done to one key while it is being loaded: the highest version that was written or told meanwhile."""

    __slots__ = ("loads", "version")

    def __init__(self) -> None:
        self.version = self.loads = 0


class InFlightTable:
    """The events of one namespace. Every method needs the owner's lock, which also guards memory.

    Without it `events` may be read, and a reader may put itself into `leaders` with `setdefault`.
    """

    def __init__(self) -> None:
        self.events = 0
        self.leaders: dict[str, Flight] = {}
        self._floors: dict[str, tuple[int, int]] = {}
        self._horizon = 0
        self._watches: dict[str, Watch] = {}

    def floor(self, key: str, since: int) -> int:
        """The highest version that `key` reached in the events after number `since`."""
        if since < self._horizon:
            return MAX_VERSION + 1  # not known any more: above everything
        event, version = self._floors.get(key, (0, 0))
        return version if event > since else 0

    def reach(self, key: str, version: int) -> None:
        """`key` has reached `version`: nothing below it may enter memory, nor is a read of before it joined."""
        self.events = event = self.events + 1
        if key in self.leaders:
            del self.leaders[key]
        held = self._floors.get(key)
        if held is not None:
            if held[1] > version:
                version = held[1]
        elif len(self._floors) >= FLOORS:
            self._floors.clear()
            self._horizon = event
        self._floors[key] = (event, version)

    def change(self, key: str, version: int) -> None:
        """`reach` for a write, here or told by others, and not for what a read found: who loads the key must know."""
        if self._watches and (watch := self._watches.get(key)) is not None:
            watch.version = max(watch.version, version)
        self.reach(key, version)

    def watch(self, key: str) -> Watch:
        """Note what is done to `key` from now on; pair with `unwatch`."""
        watch = self._watches.get(key)
        if watch is None:
            watch = self._watches[key] = Watch()
        watch.loads += 1
        return watch

    def unwatch(self, key: str, watch: Watch) -> None:
        """One load of `key` is over."""
        watch.loads -= 1
        if not watch.loads:
            self._watches.pop(key, None)

    def renew(self) -> None:
        """Memory was emptied: nothing that is under way may enter it, or be joined."""
        self.events += 1
        self._horizon = self.events
        self.leaders.clear()
        self._floors.clear()
