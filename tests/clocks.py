"""A clock that tests move by hand."""

from __future__ import annotations


class HandClock:
    def __init__(self, start: float = 1_000.0) -> None:
        self.seconds = start

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> int:
        return int(self.seconds * 1000) + 1_700_000_000_000  # as the real one: whole milliseconds that have passed

    def advance(self, seconds: float) -> None:
        self.seconds += seconds
