"""`get_or_set`: one loader per key in this process, stale-if-error."""

from __future__ import annotations

from _thread import allocate_lock, get_ident
from collections.abc import Callable
from typing import Any

from tiered.chain import Chain, Space
from tiered.entry import open_frame
from tiered.errors import TieredError
from tiered.replication.inflight import Flight

_waits: dict[int, Load] = {}
"""Which load each thread waits for. Without a lock: of two that begin to wait for each other, the second sees both."""


class Load(Flight):
    """A load under way, and the thread that runs its loader."""

    def __init__(self, started: float) -> None:
        super().__init__(started)
        self.owner = get_ident()
        self.done = allocate_lock()
        self.done.acquire()


class Loads:
    """Loads under way in one chain. Thread-safe; no lock is held while a loader runs."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def load(self, space: Space, key: str, produce: Callable[[], Any]) -> Any:
        """Run `produce` (load and store), or wait for the one that is running and take its value.

        Raises `TieredError` where waiting would never end: in a loader that, over whichever loads, needs its own key.
        """
        while True:
            with self._chain.memory.lock:
                running = space.loads.get(key)
                if running is None:
                    mine = space.loads[key] = Load(self._chain.clock.monotonic())
            if running is None:
                return self._lead(space, key, mine, produce)
            space.stats.coalesced += 1
            assert isinstance(running, Load)  # nothing else is put there
            _wait(running)
            if isinstance(running.error, Exception):
                raise running.error
            if running.error is None:  # else its thread was interrupted, which is no answer: the next one loads
                return self._chain.codec.decode(running.answer)  # each caller gets a value of its own

    def stale(self, space: Space, key: str) -> tuple[bool, Any]:
        """An expired value that is still kept for stale-if-error: (found, value)."""
        _, frame = self._chain.record.read(space.name, key)
        if frame is None:
            return False, None
        entry = open_frame(frame, space.seed, key)
        kept = not entry.tombstone and (not entry.keep_until or entry.keep_until > self._chain.clock.now())
        return (True, self._chain.decode(entry)) if kept else (False, None)

    def _lead(self, space: Space, key: str, mine: Flight, produce: Callable[[], Any]) -> Any:
        try:
            value = produce()
            mine.answer = self._chain.codec.encode(value)
        except BaseException as error:
            mine.error = error
            raise
        finally:
            with self._chain.memory.lock:
                del space.loads[key]
            mine.done.release()
        return value


def _wait(load: Load) -> None:
    me = get_ident()
    _waits[me] = load
    try:
        if _leads_back(load, me):
            raise TieredError("get_or_set: a loader asked for the very key that it is loading, which would never end")
        with load.done:
            pass
    finally:
        del _waits[me]


def _leads_back(load: Load, thread: int) -> bool:
    """Whether the owner of `load` waits, over however many loads, for `thread`."""
    seen: set[int] = set()
    while load.owner != thread:
        following = _waits.get(load.owner)
        if following is None or load.owner in seen:
            return False
        seen.add(load.owner)
        load = following
    return True
