"""Turns: those who change one key in this process do so one after the other.

An `update` reads, changes, and writes if nobody has written meanwhile. Of n that begin together one succeeds with each commit,
and the others read again: n² reads. So who has lost once waits for those before, and who finds others waiting waits behind them.
It is a courtesy, which ends for all of them when somebody does not get on: what makes an update atomic is the version that its
write expects.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from threading import Event, Lock

from tiered.steps import Steps, Wait

GLANCE = 0.5
"""Seconds for which those behind it wait for one turn: its function may wait for one of them, or its thread or loop be gone."""


class Turn:
    """A place in the queue of a key."""

    __slots__ = ("come", "tell")

    def __init__(self) -> None:
        self.come = Event()
        self.tell: Callable[[], None] | None = None


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
        while first is not turn and not turn.come.is_set():
            came: bool = yield Wait(partial(turn.come.wait, GLANCE), GLANCE, partial(self._listen, turn))
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
            queue[0].come.set()
            tell = queue[0].tell
        if tell is not None:
            tell()

    def _dissolve(self, key: str) -> None:
        """Nobody waits any longer; else each of those behind would be waited for as long."""
        with self._lock:
            queue = self._queues.pop(key, deque())
            for turn in queue:
                turn.come.set()
            tells = list(turn.tell for turn in queue)
        for tell in tells:
            if tell is not None:
                tell()

    def _listen(self, turn: Turn, tell: Callable[[], None]) -> None:
        with self._lock:
            turn.tell = tell
            come = turn.come.is_set()
        if come:
            tell()
