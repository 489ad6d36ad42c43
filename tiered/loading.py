"""`get_or_set`: one loader per key in this process, stale-if-error."""

from __future__ import annotations

from _thread import allocate_lock
from collections.abc import Callable
from typing import Any

from tiered.chain import Chain, Space
from tiered.entry import open_frame
from tiered.replication.inflight import Flight


class Loads:
    """Loads under way in one chain. Thread-safe; no lock is held while a loader runs."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def load(self, space: Space, key: str, produce: Callable[[], Any]) -> Any:
        """Run `produce` (load and store), or wait for the one that is running and take its value."""
        with self._chain.memory.lock:
            flight = space.loads.get(key)
            if flight is None:
                mine = space.loads[key] = Flight(self._chain.clock.monotonic())
                mine.done = allocate_lock()
                mine.done.acquire()
        if flight is not None:
            space.stats.coalesced += 1
            with flight.done:
                pass
            if isinstance(flight.error, Exception):
                raise flight.error
            return self._copy(flight.answer)
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

    def stale(self, space: Space, key: str) -> tuple[bool, Any]:
        """An expired value that is still kept for stale-if-error: (found, value)."""
        _, frame = self._chain.record.read(space.name, key)
        if frame is None:
            return False, None
        entry = open_frame(frame, space.seed, key)
        kept = not entry.tombstone and (not entry.keep_until or entry.keep_until > self._chain.clock.now())
        return (True, self._chain.decode(entry)) if kept else (False, None)

    def _copy(self, payload: bytes | None) -> Any:
        """Each caller gets a value of its own. None: the leader was interrupted, the caller must load itself."""
        if payload is None:
            raise InterruptedError("the loader that this call waited for was interrupted; call again")
        return self._chain.codec.decode(payload)
