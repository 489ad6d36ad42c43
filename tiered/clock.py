"""The two clocks, behind one seam: monotonic seconds for intervals, wall milliseconds for stored expiry."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from; tests move their own by hand."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    def now(self) -> int:
        """Unix milliseconds."""


class SystemClock:
    """The machine's clocks."""

    monotonic = staticmethod(time.monotonic)

    def now(self) -> int:
        return time.time_ns() // 1_000_000


SYSTEM_CLOCK = SystemClock()
