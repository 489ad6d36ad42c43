"""A breaker that probes by itself: a server that is down costs each call of the SDK its full time limit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Lock, Thread

from tiered.clock import Clock
from tiered.errors import StoreError
from tiered.replication.breaker import Breaker

logger = logging.getLogger(__name__)

STEP = 0.05
"""Seconds between two looks at whether a probe is due."""


class Prober:
    """Out of service after five failures in a row, until `probe` succeeds on a thread of its own. Thread-safe."""

    def __init__(self, name: str, probe: Callable[[int], None], clock: Clock) -> None:
        self._name, self._probe = name, probe
        self.breaker = Breaker(delay=0.5, clock=clock)
        self._start()

    def _start(self) -> None:
        self._lock = Lock()  # guards the thread's start
        self._thread: Thread | None = None
        self._stop = Event()

    def failed(self, error: StoreError) -> None:
        """A call failed."""
        if error.reason.trips_breaker and self.breaker.failure():
            logger.warning("%s: not asked any more until it answers a probe: %s", self._name, error)
            self.watch()

    def watch(self) -> None:
        """See that somebody probes. For whoever finds it out of service: the thread may have ended a moment before it was needed."""
        with self._lock, suppress(RuntimeError):  # the process may have no more threads; the next call tries again
            if not self._stop.is_set() and (self._thread is None or not self._thread.is_alive()):
                self._thread = Thread(target=self._run, name=f"tiered-{self._name}-probe", daemon=True)
                self._thread.start()

    def answered(self) -> None:
        """A probe that somebody else made went well."""
        if not self.breaker.closed:
            self.breaker.close()
            logger.warning("%s: answers again", self._name)

    def close(self) -> None:
        self._stop.set()

    def abandon(self) -> None:
        """In a child after a fork."""
        self.breaker.forget_parent()
        self._start()

    def _run(self) -> None:
        tries = 0
        while not self.breaker.closed and not self._stop.wait(STEP):
            if self.breaker.probe_due():
                try:
                    self._probe(tries)
                except StoreError as error:
                    tries += 1
                    self.breaker.probe_failed()
                    logger.info("%s: still out of service: %s", self._name, error)
                else:
                    self.answered()
