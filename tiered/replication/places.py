"""A limit on how many calls may be somewhere at once."""

from __future__ import annotations

from queue import Empty, SimpleQueue
from threading import Lock

from tiered.lent import Lent, Place


class Places:
    """So many places; `release` each that you `acquire`. Thread-safe.

    No semaphore: that is Python code under a lock, in which an exception of a signal handler (Ctrl-C, a time limit by
    SIGALRM) would leave it locked for ever. Here it can at worst lose a place, which another takes then.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._all = Lent[Place]()
        self._free: SimpleQueue[Place] = SimpleQueue()
        self._lock = Lock()  # held to make one
        while (place := self._another()) is not None:
            self._free.put(place)

    def acquire(self, timeout: float) -> Place | None:
        """Wait up to `timeout` seconds for a place; None if there was none."""
        try:
            return self._free.get(timeout=timeout)
        except Empty:
            return self._another()

    def release(self, place: Place) -> None:
        self._free.put(place)

    def _another(self) -> Place | None:
        """A new one, if there are fewer than there should be."""
        with self._lock:
            if len(self._all) >= self._count:
                return None
            self._all.add(place := Place())
            return place
