"""The background thread that keeps leases alive while their loaders run."""

from __future__ import annotations

import logging
from threading import Event, Lock, Thread
from typing import Protocol
from weakref import WeakSet

logger = logging.getLogger(__name__)

IDLE_ROUNDS = 10
"""Rounds without a lease after which the thread ends, until the next lease."""


class Beating(Protocol):
    """What has to be done again and again."""

    def beat(self) -> None:
        """What it raises is logged."""


class Heartbeat:
    """Calls `beat` of everything that was added, every `period` seconds, until it is removed. Thread-safe."""

    def __init__(self, period: float) -> None:
        self._period = period
        self.abandon()

    def abandon(self) -> None:
        """Start anew: at first, and in a child after a fork."""
        self._held: WeakSet[Beating] = WeakSet()  # weak: an interrupted load must not keep its lease for ever
        self._thread: Thread | None = None
        self._stopped = Event()
        self._lock = Lock()  # guards the set and the start and end of the thread

    def add(self, it: Beating) -> None:
        with self._lock:
            self._held.add(it)
            if not (self._thread and self._thread.is_alive()) and not self._stopped.is_set():
                thread = Thread(target=self._run, name="tiered-heartbeat", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    logger.warning("no thread to extend leases (%s); a long load may be done twice", error)
                else:
                    self._thread = thread

    def remove(self, it: Beating) -> None:
        with self._lock:
            self._held.discard(it)

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(timeout=5.0)

    def _run(self) -> None:
        idle = 0
        while not self._stopped.wait(self._period):
            with self._lock:
                held = list(self._held)
                idle = 0 if held else idle + 1
                if idle > IDLE_ROUNDS:
                    self._thread = None
                    return
            for it in held:
                try:
                    it.beat()
                except Exception:  # what keeps one from being extended must not cost the others theirs
                    logger.exception("a lease could not be extended")
