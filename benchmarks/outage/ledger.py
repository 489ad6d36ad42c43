"""What was acknowledged to whom and when: the registry that every answer of a system is held against."""

from __future__ import annotations

import time
from _thread import allocate_lock
from collections import defaultdict

_PADDING = ":" + "v" * 250


def text(number: int) -> str:
    """The value that the `number`th write of a key stores."""
    return f"{number}{_PADDING}"


def number_of(value: str) -> int:
    """Which write of its key `value` is of."""
    return int(value.partition(":")[0])


class Ledger:
    """Numbers the writes of each key. Threads may share it; at any moment a key has at most one writer.

    Because of that its writes have an order: a value with a number below the last acknowledged one is old. A write that
    failed may have happened or not, so a value with a number above it is not wrong.
    """

    def __init__(self, keys: int) -> None:
        self.keys = [f"user:{n}" for n in range(keys)]
        self.acknowledged = [1] * keys
        """Per key, the number of its last acknowledged write; filling in was the first."""
        self._tried = [1] * keys
        self._writing = [allocate_lock() for _ in range(keys)]
        self._history: defaultdict[int, list[tuple[int, float]]] = defaultdict(list)

    def begin(self, key: int) -> int | None:
        """The number of a write that begins now; None if another writer is at this key. Pair with `end`."""
        if not self._writing[key].acquire(blocking=False):
            return None
        self._tried[key] += 1
        return self._tried[key]

    def end(self, key: int, number: int, *, acknowledged: bool) -> None:
        """The system has answered."""
        if acknowledged:
            self._history[key].append((number, time.monotonic()))
            self.acknowledged[key] = number
        self._writing[key].release()

    def age(self, key: int, number: int, began: float) -> float:
        """By how many seconds a read that began at `began` missed the first acknowledged write above `number`."""
        return began - next(at for later, at in self._history[key] if later > number)

    def check(self, key: int, number: int) -> None:
        """Raises `RuntimeError` for a number that nobody tried to write: then the benchmark itself is broken."""
        if number > self._tried[key]:
            raise RuntimeError(f"{self.keys[key]} has value {number}, but only {self._tried[key]} were written")

    def written(self) -> dict[str, int]:
        """Every key that was written after filling in, and the number of its last acknowledged write."""
        return {key: last for key, last in zip(self.keys, self.acknowledged, strict=True) if last > 1}
