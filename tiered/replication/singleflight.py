"""One loader per key in this process: others wait for it, for a bounded time, and never for themselves."""

from __future__ import annotations

import threading
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable
from itertools import repeat
from operator import methodcaller
from threading import Lock
from typing import Any

from tiered.chain import Chain, Space
from tiered.errors import RecursiveLoad
from tiered.replication.inflight import Watch

Copy = Callable[[], Any]
"""A value as a function that gives every caller a copy of its own."""

GLANCE = 1.0
"""Seconds after which one who waits looks again: another who waited, and was interrupted, may have left the door shut."""

_release = methodcaller("release")
_waits = Lock()
"""Guards every `waits_for`, so that of two threads that would wait for each other the second sees it."""


class Caller:
    """A thread, as far as loads are concerned."""

    __slots__ = ("loading", "waits_for")

    def __init__(self) -> None:
        self.loading: set[tuple[Space, str]] = set()
        self.waits_for: Load | None = None


class Load:
    """A load under way. It is `over` with a value, an error, or (left or interrupted) neither; `done` is free then."""

    __slots__ = ("_from", "copy", "done", "error", "failed", "generation", "over", "owner", "shut", "started", "watch")

    def __init__(self, owner: Caller, watch: Watch, started: float) -> None:
        self.owner, self.watch, self.started = owner, watch, started
        self.copy: Copy | None = None
        self.error: Exception | None = None
        self.failed = False
        """Whether `error` is the loader's own, and not the store's."""
        self.generation = 0
        """That of the namespace when the loader began; 0 before."""
        self._from = 0
        self.over = False
        self.done = allocate_lock()
        self.done.acquire()
        self.shut = deque([self.done])
        """What is to be released at the end, once."""

    def begin(self, generation: int, version: int) -> None:
        """The loader is about to run; `version` is what the store says of the key."""
        self._from = max(self.watch.version, version)
        self.generation = generation

    def overtaken(self, generation: int) -> bool:
        """Whether the key was written, deleted or cleared since the loader began, as far as this process knows."""
        return bool(self.generation) and (self.watch.version > self._from or generation != self.generation)


class Turn:
    """The load that its caller must `leave`: known from the moment it is in the table, whatever interrupts the caller."""

    __slots__ = ("load", "watched")

    def __init__(self) -> None:
        self.load: Load | None = None
        self.watched = False


class SingleFlight:
    """The loads under way in one chain. Thread-safe; no lock is held while a loader runs."""

    def __init__(self, chain: Chain, patience: float) -> None:
        self._chain, self._patience = chain, patience

    def enter(self, space: Space, key: str, turn: Turn, *, alone: bool = False) -> tuple[Load, bool]:
        """The load to wait for, or (True) a new one, which the caller must do and `leave`; `alone` asks for that.

        Whenever `turn` has a load it must be left: a signal handler may raise before this has returned.

        A load that a write has overtaken gives nobody who comes later a value of before that write, and one that has
        run for longer than the patience of this process is taken for hung: neither is joined.
        """
        me = _local.caller
        if (space, key) in me.loading:
            raise RecursiveLoad(f"the loader of {key!r:.80} asks get_or_set for that key; let it use get")
        now = self._chain.clock.monotonic()
        with self._chain.memory.lock:
            load = space.loads.get(key)
            young = load is not None and now - load.started < self._patience
            if load is not None and young and not alone and not load.overtaken(space.generation):
                return load, False
            turn.watched = True
            turn.load = load = Load(me, space.flights.watch(key), now)
            space.loads[key] = load
            me.loading.add((space, key))
        return load, True

    def leave(self, space: Space, key: str, turn: Turn) -> None:
        """The load is over, whatever came of it. Repeating it after an interrupt, wherever that came, completes it."""
        load = turn.load
        assert load is not None
        load.owner.loading.discard((space, key))
        with self._chain.memory.lock:
            if space.loads.get(key) is load:
                del space.loads[key]
            if turn.watched:
                turn.watched = False
                space.flights.unwatch(key, load.watch)
        load.over = True
        # One call, so that no signal handler runs between the two steps, and it is not released twice.
        deque(map(_release, map(deque.popleft, repeat(load.shut, len(load.shut)))), maxlen=0)
        turn.load = None

    def wait(self, key: str, load: Load) -> bool:
        """Wait until `load` is over; False if it is not when patience is. Raises `RecursiveLoad` instead of waiting in a circle."""
        me = _local.caller
        with _waits:
            if _leads_to(load, me):
                raise RecursiveLoad(f"two loaders wait for each other, one of them for {key!r:.80}; let one use get")
            me.waits_for = load
        try:
            while not load.over:
                left = load.started + self._patience - self._chain.clock.monotonic()
                if left <= 0:
                    return False
                if load.done.acquire(timeout=min(left, GLANCE)):
                    load.done.release()
            return True
        finally:
            me.waits_for = None

    def abandon(self) -> None:
        """In a child after a fork: the threads that were loading are not here."""
        global _waits
        _waits = Lock()
        _local.caller = Caller()
        for space in self._chain.spaces():
            space.loads.clear()


class _Local(threading.local):
    def __init__(self) -> None:
        self.caller = Caller()


_local = _Local()


def _leads_to(load: Load | None, caller: Caller) -> bool:
    """Whether whoever does `load` waits, directly or through others, for `caller`."""
    while load is not None:
        if load.owner is caller:
            return True
        load = load.owner.waits_for
    return False
