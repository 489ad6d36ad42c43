"""What has become of intents and marks, and waits in memory for a transaction to ride on."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from threading import Lock

from tiered.tiers.base import Mark

CONFIRMATIONS = 100_000
"""Past so many that wait, the oldest are lost: a replay each."""

Place = tuple[str, str, int]
"""Namespace, key and version."""


class Applied:
    """A write that the record made. `tiers` are to have it; those in `confirmed` have it."""

    __slots__ = ("confirmed", "generation", "intent", "tiers")

    def __init__(self, intent: int, generation: int, tiers: Sequence[str]) -> None:
        self.intent, self.generation, self.tiers = intent, generation, tiers
        self.confirmed = set[str]()


class Changes:
    """Some of them. Done twice, or in part and then again, they have the effect of once."""

    def __init__(self) -> None:
        self.applied: dict[Place, Applied] = {}
        self.over: list[int] = []
        """Intents of writes that did not happen."""
        self.doubtful: list[int] = []
        """Intents of writes that may have happened, or may still: nobody will ever say."""
        self.confirmed: deque[Mark] = deque(maxlen=CONFIRMATIONS)

    def __bool__(self) -> bool:
        return bool(self.applied or self.over or self.doubtful or self.confirmed)


class Waiting:
    """The changes that wait. Thread-safe.

    Losing them, with the process, loses no truth: the intents are still there, and their writer is not.
    """

    def __init__(self) -> None:
        self._changes = Changes()
        self._lock = Lock()  # guards the changes

    def __bool__(self) -> bool:
        return bool(self._changes)

    def applied(self, place: Place, it: Applied) -> None:
        with self._lock:
            self._changes.applied[place] = it

    def over(self, intents: Sequence[int]) -> None:
        with self._lock:
            self._changes.over += intents

    def doubtful(self, intents: Sequence[int]) -> None:
        with self._lock:
            self._changes.doubtful += intents

    def confirmed(self, marks: Sequence[Mark]) -> None:
        """Most are of writes that still wait here themselves: those will never be marks."""
        with self._lock:
            for mark in marks:
                it = self._changes.applied.get(mark[1:4])
                if it is not None and it.generation == mark.generation and not mark.place:
                    it.confirmed.add(mark.tier)
                else:
                    self._changes.confirmed.append(mark)

    def take(self) -> Changes:
        """All of them; whoever fails to write them out must `give_back`."""
        with self._lock:
            changes, self._changes = self._changes, Changes()
        return changes

    def give_back(self, changes: Changes) -> None:
        """Before those that came meanwhile."""
        with self._lock:
            later, self._changes = self._changes, changes
            changes.applied |= later.applied
            changes.over += later.over
            changes.doubtful += later.doubtful
            changes.confirmed += later.confirmed
