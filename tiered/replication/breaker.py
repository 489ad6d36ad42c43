"""When to stop asking a tier: a circuit breaker that time alone never closes.

It opens on `CONSECUTIVE` failures in a row, or when at least half of at least `SAMPLE` calls within `WINDOW` seconds
failed. Open, it asks for a probe after a delay that doubles with each failed one; a probe runs in the background and
only its success, after the tier has been repaired, closes the breaker. No user's call is ever the probe. The delay
stays short: a probe costs one connection of a background thread, and a tier that is back should be used soon.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from threading import Lock

from tiered.clock import SYSTEM_CLOCK, Clock
from tiered.jitter import jitter

CONSECUTIVE, SAMPLE, WINDOW = 5, 20, 10.0
MAX_DELAY = 2.0
"""Seconds from a failed probe to the next, at most."""


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Thread-safe. Decides only; it does no I/O and starts no thread."""

    def __init__(
        self, *, delay: float = 1.0, clock: Clock = SYSTEM_CLOCK, jitter: Callable[[], float] = jitter
    ) -> None:
        self.closed = True
        """Read on every call, so a plain attribute; True exactly when `state` is CLOSED."""
        self.state = State.CLOSED
        self.transitions = dict.fromkeys(State, 0)
        """How often each state was entered."""
        self._delay, self._clock, self._jitter = delay, clock, jitter
        self._lock = Lock()  # guards everything below
        self._failed_in_row = 0
        self._calls = self._failures = 0
        self._window_ends = 0.0
        self._tries = 0
        self._probe_at = 0.0
        self._away, self._away_since = 0.0, 0.0

    @property
    def unavailable(self) -> float:
        """Seconds out of service in all, the running outage included."""
        with self._lock:
            return self._away if self.closed else self._away + self._clock.monotonic() - self._away_since

    def success(self) -> None:
        """A call went well. Costs one attribute read while nothing has failed lately."""
        if self._failures or self._failed_in_row:
            with self._lock:
                self._failed_in_row = 0
                self._roll()
                self._calls += 1

    def failure(self) -> bool:
        """A call failed or was too slow; True if this opened the breaker."""
        with self._lock:
            self._failed_in_row += 1
            self._roll()
            self._calls += 1
            self._failures += 1
            often = self._calls >= SAMPLE and 2 * self._failures >= self._calls
            if not self.closed or (self._failed_in_row < CONSECUTIVE and not often):
                return False
            self._tries = 0
            self._open()
            return True

    def trip(self) -> None:
        """Open now, whatever the calls said."""
        with self._lock:
            if self.closed:
                self._tries = 0
                self._open()

    def probe_due(self) -> bool:
        """Whether it is time for a probe; if so the breaker is half-open and the caller must probe."""
        with self._lock:
            if self.state is not State.OPEN or self._clock.monotonic() < self._probe_at:
                return False
            self._enter(State.HALF_OPEN)
            return True

    def probe_failed(self) -> None:
        """The probe or the repair failed: open again, for longer."""
        with self._lock:
            self._tries += 1
            self._open()

    def close(self) -> None:
        """The tier answered and was repaired."""
        with self._lock:
            self._failed_in_row = self._calls = self._failures = 0
            self._enter(State.CLOSED)

    def forget_parent(self) -> None:
        """In a child after a fork, whose first use meets the tier anew."""
        self._lock = Lock()
        self.close()
        self.transitions, self._away = dict.fromkeys(State, 0), 0.0

    def _enter(self, state: State) -> None:
        if state is self.state:
            return
        now = self._clock.monotonic()
        if self.closed:
            self._away_since = now
        elif state is State.CLOSED:
            self._away += now - self._away_since
        self.transitions[state] += 1
        self.state, self.closed = state, state is State.CLOSED

    def _open(self) -> None:
        self._enter(State.OPEN)
        delay = min(MAX_DELAY, self._delay * 2**self._tries)
        self._probe_at = self._clock.monotonic() + delay * (0.5 + 0.5 * self._jitter())

    def _roll(self) -> None:
        now = self._clock.monotonic()
        if now >= self._window_ends:
            self._window_ends = now + WINDOW
            self._calls = self._failures = 0
