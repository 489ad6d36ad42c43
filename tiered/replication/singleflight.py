"""One loader per key in this process: others wait for it, for a bounded time, and never for themselves.

Threads and asyncio tasks are in the same table. Which loads a piece of code runs in is a context variable, so it is known
in the tasks and threads, too, to which asyncio copies the context.
"""

from __future__ import annotations

import logging
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any

from tiered.chain import Chain, Space
from tiered.errors import RecursiveLoad
from tiered.handlers import pass_on
from tiered.locks import release_all
from tiered.replication.inflight import Watch
from tiered.steps import Steps, Wait

if TYPE_CHECKING:
    from tiered.replication.leases import Lease

logger = logging.getLogger(__name__)

Copy = Callable[[], Any]
"""A value as a function that gives every caller a copy of its own."""

GLANCE = 1.0
"""Seconds after which one who waits looks again: another who waited, and was interrupted, may have left the door shut."""

_inside: ContextVar[Load | None] = ContextVar("tiered_load", default=None)
"""The load whose loader this is."""

_waits = Lock()
"""Guards every `waits_for`, so that of two loads that would wait for each other the second sees it."""


class Load:
    """A load under way. It is `over` with a value, an error, or (left or interrupted) neither; then `done` is free."""

    def __init__(self, space: Space, key: str, watch: Watch, started: float, within: Load | None) -> None:
        self.space, self.key, self.watch, self.started = space, key, watch, started
        self.within = within
        """The load whose loader asked for this one, or what `around` has put in its place."""
        self.waits_for: list[Load] = []
        """Those that its loader asked for, or joined, and that are not over: with tasks there may be several."""
        self.copy: Copy | None = None
        self.error: Exception | None = None
        self.failed = False
        """Whether `error` is the loader's own, and not the store's."""
        self.generation = 0
        """That of the namespace when the loader began; 0 before."""
        self.leases: list[Lease] = []
        """Those that it has asked for."""
        self.ending: Callable[[], None] | None = None
        """Done when it is left, and done again if a signal handler raises in the middle of that."""
        self.over = False
        self.listeners: list[Callable[[], None]] = []
        """Called when it is over; with the memory's lock, as `over`."""
        self._from = 0
        self.done = allocate_lock()
        self.done.acquire()
        self.shut = deque([self.done])
        """What is to be released at the end, once."""

    def begin(self, generation: int, version: int) -> None:
        """The loader is about to run; `version` is what the store says of the key."""
        self._from = max(self.watch.version, version)
        self.generation = generation

    def around(self) -> Load | None:
        """The nearest load around this one that is not over. Those between are forgotten: their loaders may have left tasks behind, in
        whose contexts others are loaded, and so on for ever, each with what it loaded."""
        self.within = within = _running(self.within)
        return within

    @contextmanager
    def loader(self) -> Iterator[None]:
        """What runs here is its loader."""
        token = _inside.set(self)
        try:
            yield
        finally:
            _inside.reset(token)

    def overtaken(self, generation: int) -> bool:
        """Whether the key was written, deleted or cleared since the loader began, as far as this process knows."""
        return bool(self.generation) and (self.watch.version > self._from or generation != self.generation)


class Stay:
    """The load that its caller must `leave`: known from the moment it is in the table, whatever interrupts the caller."""

    __slots__ = ("load", "watched")

    def __init__(self) -> None:
        self.load: Load | None = None
        self.watched = False


class SingleFlight:
    """The loads under way in one chain. Thread-safe; no lock is held while a loader runs."""

    def __init__(self, chain: Chain, patience: float) -> None:
        self._chain, self._patience = chain, patience

    def enter(self, space: Space, key: str, stay: Stay, *, alone: bool = False) -> tuple[Load, bool]:
        """The load to wait for, or (True) a new one, which the caller must do and `leave`; `alone` asks for that.

        Whenever `stay` has a load it must be left: a signal handler may raise before this has returned.

        A load that a write has overtaken gives nobody who comes later a value of before that write, and one that has
        run for longer than the patience of this process is taken for hung: neither is joined.
        """
        within = _running(_inside.get())
        if _is_loading(within, space, key):
            raise RecursiveLoad(f"the loader of {key!r:.80} asks get_or_set for that key; let it use get")
        now = self._chain.clock.monotonic()
        with self._chain.memory.lock:
            load = space.loads.get(key)
            young = load is not None and now - load.started < self._patience
            if load is not None and young and not alone and not load.overtaken(space.generation):
                return load, False
            stay.watched = True
            stay.load = load = Load(space, key, space.flights.watch(key), now, within)
            space.loads[key] = load
        if within is not None:
            with _waits:
                if not within.over:
                    within.waits_for.append(load)
        return load, True

    def leave(self, stay: Stay) -> None:
        """The load is over, whatever came of it. Repeating it after an interrupt, wherever that came, completes it."""
        load = stay.load
        assert load is not None
        space, key = load.space, load.key
        if load.ending is not None:
            try:
                load.ending()
            except Exception as error:
                pass_on(error)
                logger.warning("a load of %.100r could not be ended as it should: %r", key, error)
            load.ending = None
        with self._chain.memory.lock:
            if space.loads.get(key) is load:
                del space.loads[key]
            if stay.watched:
                stay.watched = False
                space.flights.unwatch(key, load.watch)
            load.over = True  # from here on nobody listens who has not
        within = load.within
        with _waits:
            load.waits_for = []
            if within is not None:
                within.waits_for = list(it for it in within.waits_for if it is not load)
        release_all(load.shut)
        for tell in load.listeners:
            tell()
        stay.load = None

    def wait(self, load: Load) -> Steps[bool]:
        """Wait until `load` is over; False if it is not when patience is. Raises `RecursiveLoad` instead of waiting in a circle."""
        me = _inside.get()
        if me is not None:
            with _waits:
                if _leads_to(load, me):
                    raise RecursiveLoad(
                        f"two loaders wait for each other, one of them for {load.key!r:.80}; let one use get"
                    )
                if not me.over:
                    me.waits_for.append(load)
        try:
            left = max(0.0, load.started + self._patience - self._chain.clock.monotonic())
            over: bool = yield Wait(partial(_wait, load, left), left, partial(self._listen, load))
            return over
        finally:
            if me is not None:
                with _waits:
                    if load in me.waits_for:  # once: another task of this loader may wait for it, too
                        me.waits_for.remove(load)

    def abandon(self) -> None:
        """In a child after a fork: the threads that were loading are not here."""
        global _waits
        _waits = Lock()
        _inside.set(None)
        for space in self._chain.spaces():
            space.loads.clear()

    def _listen(self, load: Load, tell: Callable[[], None]) -> None:
        with self._chain.memory.lock:
            if not load.over:
                load.listeners.append(tell)
                return
        tell()


def _wait(load: Load, seconds: float) -> bool:
    until = monotonic() + seconds
    while not load.over:
        left = until - monotonic()
        if left <= 0:
            return False
        if load.done.acquire(timeout=min(left, GLANCE)):
            load.done.release()
    return True


def _running(load: Load | None) -> Load | None:
    """`load`, or the nearest around it that is not over: one that is has left a task behind."""
    while load is not None and load.over:
        load = load.within
    return load


def _is_loading(load: Load | None, space: Space, key: str) -> bool:
    """Whether `load`, or one around it, is under way for this key."""
    while load is not None:
        if load.key == key and load.space is space and not load.over:
            return True
        load = load.around()
    return False


def _leads_to(load: Load, wanted: Load) -> bool:
    """Whether `load` cannot end before `wanted` does: its loader waits for it, directly or through others."""
    seen, left = {load}, [load]
    while left:
        it = left.pop()
        if it is wanted:
            return True
        new = [after for after in it.waits_for if after not in seen]
        seen.update(new)
        left += new
    return False
