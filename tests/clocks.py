"""The clock that tests move by hand is the one that users' tests get."""

from tiered.testing.clock import HandClock

__all__ = ["HandClock"]
