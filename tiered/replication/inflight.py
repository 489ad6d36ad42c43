"""Reads and writes under way: the guard that keeps old versions out of memory (PROTOCOL R2, R3, R4, R11).

An entry exists for a key as long as any operation on it is under way in this process, and holds a *floor*: the
highest version that was committed, invalidated or returned meanwhile. What is below it does not enter memory.
A read that others may join is the entry's `leader`; a write or an invalidation removes it, so that later readers
start their own.
"""

from __future__ import annotations

from _thread import allocate_lock
from typing import Any


class Flight:
    """One read under way. `done` is held by its leader until `answer` or `error` is set."""

    __slots__ = ("answer", "done", "error", "started")

    def __init__(self, started: float) -> None:
        self.started = started
        self.answer: Any = None
        self.error: BaseException | None = None
        self.done = allocate_lock()
        self.done.acquire()


class InFlight:
    """The operations under way on one key."""

    __slots__ = ("floor", "leader", "marked", "refs")

    def __init__(self) -> None:
        self.floor = 0
        self.marked = 0
        """The highest version that was written or invalidated meanwhile; reads do not raise it."""
        self.refs = 0
        self.leader: Flight | None = None


class InFlightTable:
    """The operations under way in one namespace. Every method needs the owner's lock, which also guards memory."""

    def __init__(self) -> None:
        self._entries: dict[str, InFlight] = {}
        self.epoch = 0
        """Counts the times memory was emptied; an operation of an older epoch populates nothing."""

    def __len__(self) -> int:
        return len(self._entries)

    def begin(self, key: str) -> InFlight:
        """Register an operation on `key`; pair with `end`."""
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = InFlight()
        entry.refs += 1
        return entry

    def join(self, key: str, now: float, max_age: float) -> Flight | None:
        """The read of `key` that a new reader may wait for, if there is one and it began within `max_age` seconds."""
        entry = self._entries.get(key)
        if entry is None or entry.leader is None or now - entry.leader.started > max_age:
            return None
        return entry.leader

    def mark(self, key: str, version: int) -> None:
        """`key` has reached `version`: what is under way below it must not enter memory, nor be joined."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.floor = max(entry.floor, version)
            entry.marked = max(entry.marked, version)
            entry.leader = None

    def mark_all(self) -> None:
        """Memory was emptied: nothing that is under way may enter it, or be joined."""
        self.epoch += 1
        for entry in self._entries.values():
            entry.leader = None

    def end(self, key: str, entry: InFlight, flight: Flight | None = None) -> None:
        """The operation is over."""
        if flight is not None and entry.leader is flight:
            entry.leader = None
        entry.refs -= 1
        if not entry.refs and self._entries.get(key) is entry:
            del self._entries[key]
