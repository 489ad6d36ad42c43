"""A clock that tests move by hand: `TieredBackend(…, clock=HandClock())`, and nobody waits for a ttl."""

from __future__ import annotations


class HandClock:
    """Stands still until it is advanced."""

    def __init__(self, start: float = 1_000.0) -> None:
        self.seconds = start

    def monotonic(self) -> float:
        """Seconds since its beginning."""
        return self.seconds

    def now(self) -> int:
        """Unix milliseconds, some day in 2023."""
        return int(self.seconds * 1000) + 1_700_000_000_000  # as the real one: whole milliseconds that have passed

    def advance(self, seconds: float) -> None:
        """So many seconds pass."""
        self.seconds += seconds
