"""A limit on how many calls may be somewhere at once."""

from __future__ import annotations

from queue import Empty, SimpleQueue


class Places:
    """So many places; `release` each that you `acquire`. Thread-safe.

    No semaphore: that is Python code under a lock, in which an exception of a signal handler (Ctrl-C, a time limit by
    SIGALRM) would leave it locked for ever. Here it can at worst lose a place.
    """

    def __init__(self, count: int) -> None:
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(count):
            self._free.put(None)

    def acquire(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for a place; whether there was one."""
        try:
            self._free.get(timeout=timeout)
        except Empty:
            return False
        return True

    def release(self) -> None:
        self._free.put(None)
