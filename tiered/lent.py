"""What is lent out, counted for as long as somebody has it.

An exception of a signal handler (Ctrl-C, a time limit by SIGALRM) may come between any two steps of whoever has just been given
something: then nobody can give it back, and a number of those that are out would be wrong for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar
from weakref import ref

_It = TypeVar("_It")


class Lent(Generic[_It]):
    """What somebody has of what was added. Thread-safe: each step is one of a set, with no Python code in it."""

    def __init__(self) -> None:
        self._refs: set[ref[_It]] = set()

    def add(self, it: _It) -> None:
        self._refs.add(ref(it, self._refs.discard))

    def discard(self, it: _It) -> None:
        """Idempotent."""
        self._refs.discard(ref(it))

    def __len__(self) -> int:
        return len(self._refs)

    def __iter__(self) -> Iterator[_It]:
        found = [refer() for refer in list(self._refs)]
        return iter([it for it in found if it is not None])


class Place:
    """One of so many."""

    __slots__ = ("__weakref__",)
