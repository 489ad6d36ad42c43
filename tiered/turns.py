"""Turns: those who change one key in this process do so one after the other.

An `update` reads, changes, and writes if nobody has written meanwhile. Of n that begin together one succeeds with each commit,
and the others read again: n² reads. So who has lost once waits for those before, and who finds others waiting waits behind them.
It is a courtesy, which ends for all of them when somebody does not get on: what makes an update atomic is the version that its
write expects.
"""

from __future__ import annotations

from _thread import allocate_lock
from collections import deque
from collections.abc import Callable
from functools import partial
from threading import Lock

from tiered.steps import Steps, Wait

GLANCE = 0.5
"""Seconds for which those behind it wait for one turn: its function may wait for one of them, or its thread or loop be gone."""


class Turn:
    """A place in the queue of a key. A lock to wait for, and no Event: a signal handler that raises would break that."""

    __slots__ = ("come", "door", "tell")

    def __init__(self) -> None:
        self.come, self.door = False, allocate_lock()
        self.door.acquire()
        self.tell: Callable[[], None] | None = None

    def wait(self, seconds: float) -> bool:
        """Whether it has come by then. For its owner."""
        if not self.come and self.door.acquire(timeout=seconds):
            self.door.release()
        return self.come

    def begin(self) -> Callable[[], None] | None:
        """It has come; who is to be told. With the lock of its queue."""
        if not self.come:
            self.come = True
            self.door.release()
        return self.tell


class Turns:
    """Of the keys of one namespace. Thread-safe, for threads and tasks."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._queues: dict[str, deque[Turn]] = {}

    def __contains__(self, key: str) -> bool:
        """Whether somebody has a turn at `key`."""
        return key in self._queues

    def wait(self, key: str, turn: Turn) -> Steps[None]:
        """Join the queue of `key`, and wait until those before have left; whatever comes of it, `leave` it then."""
        with self._lock:
            queue = self._queues.setdefault(key, deque())
            queue.append(turn)
            first: Turn | None = queue[0]
        while first is not turn and not turn.come:
            came: bool = yield Wait(partial(turn.wait, GLANCE), GLANCE, partial(self._listen, turn))
            with self._lock:
                queue = self._queues.get(key, deque())
                stuck = not came and bool(queue) and queue[0] is first
                first = queue[0] if queue else None
            if stuck:
                self._dissolve(key)

    def leave(self, key: str, turn: Turn) -> None:
        """The next one's turn has come. Idempotent."""
        with self._lock:
            queue = self._queues.get(key)
            if queue is None or turn not in queue:  # the queue may have been dissolved, and another begun
                return
            queue.remove(turn)
            if not queue:
                del self._queues[key]
                return
            tell = queue[0].begin()
        if tell is not None:
            tell()

    def _dissolve(self, key: str) -> None:
        """Nobody waits any longer; else each of those behind would be waited for as long."""
        with self._lock:
            tells = [turn.begin() for turn in self._queues.pop(key, deque())]
        for tell in tells:
            if tell is not None:
                tell()

    def _listen(self, turn: Turn, tell: Callable[[], None]) -> None:
        with self._lock:
            turn.tell = tell
        if turn.come:
            tell()
