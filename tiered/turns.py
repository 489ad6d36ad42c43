"""Turns: those who change one key in this process draft what they write one after the other, and commit it together.

An `update` reads, changes, and writes if nobody has written meanwhile. Of n that begin together one would succeed with each
commit, and the others read again: n² reads. So each waits for those before. Where the record `gives`, nobody waits for a commit: who has drafted a write passes on what it is, and the next builds on
that. Their writes come to the record in this order, each on the condition that the one before came about.
It is a courtesy, which ends for all of them when somebody does not get on: what makes an update atomic is the version that its
write expects. Whoever lost by that comes again, and is waited for twice as long as it took: a slow function loses a few times
beside quick ones, and no more.
"""

from __future__ import annotations

from _thread import allocate_lock
from collections import deque
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import NamedTuple

from tiered.entry import Draft
from tiered.steps import Steps, Wait
from tiered.tiers.base import Given

GLANCE = 0.5
"""Seconds for which those behind it wait for one turn: its function may wait for one of them, or its thread or loop be gone."""
LONGEST = 10.0
"""Seconds for which they wait at most for one that took its time before."""


class Line:
    """Of those who build each on the one before: whether one of them did not get to write, and so none after it can."""

    __slots__ = ("broken",)

    def __init__(self) -> None:
        self.broken = False


class Base(NamedTuple):
    """What somebody is about to write, for the next to build on."""

    draft: Draft
    given: Given
    line: Line


class Turn:
    """A place in the queue of a key. A lock to wait for, and no Event: a signal handler that raises would break that."""

    __slots__ = ("base", "come", "dissolved", "door", "line", "passed", "patience", "tell")

    def __init__(self, took: float = 0.0) -> None:
        """`took`: seconds of the attempt before, if that lost because nobody waited for it any longer."""
        self.come = self.passed = self.dissolved = False
        self.patience = max(GLANCE, min(2 * took, LONGEST))
        self.door = allocate_lock()
        self.door.acquire()
        self.base: Base | None = None
        """What to build on, in place of what the record has."""
        self.line = Line()
        """That of its write."""
        self.tell: Callable[[], None] | None = None

    def wait(self, seconds: float) -> bool:
        """Whether it has come by then. For its owner."""
        if not self.come and self.door.acquire(timeout=seconds):
            self.door.release()
        return self.come

    def begin(self, base: Base | None) -> Callable[[], None] | None:
        """It has come; who is to be told. With the lock of its queue."""
        if not self.come:
            self.base = base
            self.come = True
            self.door.release()
        return self.tell


class _Queue:
    """Of one key: whose turn it is, and who waits; what was passed on last, and by whom, until that one leaves."""

    __slots__ = ("author", "base", "turns")

    def __init__(self) -> None:
        self.turns: deque[Turn] = deque()
        self.base: Base | None = None
        self.author: Turn | None = None


class Turns:
    """Of the keys of one namespace. Thread-safe, for threads and tasks."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._queues: dict[str, _Queue] = {}

    def wait(self, key: str, turn: Turn) -> Steps[None]:
        """Join the queue of `key`, and wait until those before have gone on; whatever comes of it, `leave` it then."""
        with self._lock:
            queue = self._queues.setdefault(key, _Queue())
            queue.turns.append(turn)
            first: Turn | None = queue.turns[0]
            if first is turn:
                turn.begin(queue.base)
        waited = 0.0
        while not turn.come:
            came: bool = yield Wait(partial(turn.wait, GLANCE), GLANCE, partial(self._listen, turn))
            with self._lock:
                before, first = first, self._first(key)
            waited = waited + GLANCE if first is before else 0.0
            if not came and first is not None and waited >= first.patience:
                self._dissolve(key)

    def pass_on(self, key: str, turn: Turn, base: Base) -> None:
        """The next one's turn comes, with `base` to build on; that is so until `turn` leaves. Nothing if the queue is over."""
        tell: Callable[[], None] | None = None
        with self._lock:
            queue = self._queues.get(key)
            if queue is None or not queue.turns or queue.turns[0] is not turn:
                return
            queue.turns.popleft()
            queue.base, queue.author, turn.passed = base, turn, True
            if queue.turns:
                tell = queue.turns[0].begin(base)
        if tell is not None:
            tell()

    def leave(self, key: str, turn: Turn) -> None:
        """Of its write everything is known, or none was made: the next one's turn comes. Idempotent."""
        tell: Callable[[], None] | None = None
        with self._lock:
            queue = self._queues.get(key)
            if queue is None:
                return
            if queue.author is turn:
                queue.base = queue.author = None
            elif turn in queue.turns:  # it may have been dissolved, and another begun
                queue.turns.remove(turn)
                if queue.turns:
                    tell = queue.turns[0].begin(queue.base)
            if not queue.turns and queue.author is None:
                del self._queues[key]
        if tell is not None:
            tell()

    def _first(self, key: str) -> Turn | None:
        """Whose turn it is. With the lock."""
        queue = self._queues.get(key)
        return queue.turns[0] if queue is not None and queue.turns else None

    def _dissolve(self, key: str) -> None:
        """Nobody waits any longer; else each of those behind would be waited for as long."""
        with self._lock:
            queue = self._queues.pop(key, None)
            left = queue.turns if queue is not None else ()
            for turn in left:
                turn.dissolved = True
            tells = [turn.begin(None) for turn in left]
        for tell in tells:
            if tell is not None:
                tell()

    def _listen(self, turn: Turn, tell: Callable[[], None]) -> None:
        with self._lock:
            turn.tell = tell
        if turn.come:
            tell()
