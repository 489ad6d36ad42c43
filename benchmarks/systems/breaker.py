"""The circuit breaker that most code bases write: it closes when a timer has run out."""

from __future__ import annotations

import time


class TimerBreaker:
    """Open for `seconds` after `failures` in a row. Threads may share it; a lost count is harmless."""

    def __init__(self, *, failures: int = 3, seconds: float = 1.0) -> None:
        self._limit, self._seconds = failures, seconds
        self._count, self._until = 0, 0.0

    def allows(self) -> bool:
        return time.monotonic() >= self._until

    def succeeded(self) -> None:
        self._count = 0

    def failed(self) -> None:
        self._count += 1
        if self._count >= self._limit:
            self._until = time.monotonic() + self._seconds


class NoBreaker:
    """Every call is tried."""

    def allows(self) -> bool:
        return True

    def succeeded(self) -> None:
        pass

    def failed(self) -> None:
        pass
