"""Whether the store of record did the last write that it was asked for."""

from __future__ import annotations

import math

from tiered.clock import Clock
from tiered.errors import Reason, StoreError, without_tier
from tiered.observability.stats import TierStats

TOLD = 10.0
"""Seconds for which a write that failed is told of, unless one succeeds before: nobody may send writes to a process that says for
good that it cannot do them."""


class LastWrite:
    """By the counters of the record `name`, so that a write that succeeds costs nothing here. Thread-safe."""

    def __init__(self, name: str, stats: TierStats, clock: Clock) -> None:
        self._name, self._stats, self._monotonic = name, stats, clock.monotonic
        self.forget()

    def failed(self, error: StoreError, seconds: float) -> None:
        """The record did not do a write, after so long."""
        self._stats.failed("commit", error.reason, seconds)
        if error.reason is not Reason.TOO_LARGE:  # that says nothing of other writes
            self._failure = without_tier(error, self._name), self._commits(), self._monotonic() + TOLD

    def failure(self) -> str:
        """Why the last write was not done; "" if it was, or that was a while ago."""
        why, number, until = self._failure
        return why if number == self._commits() and self._monotonic() < until else ""

    def forget(self) -> None:
        """At first, and in a child after a fork."""
        self._failure = "", 0, -math.inf

    def _commits(self) -> int:
        return sum(self._stats.durations["commit"].counts)
