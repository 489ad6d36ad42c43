"""Refreshes in the background: a few daemon threads and a bounded queue per chain."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Hashable
from threading import Condition, Thread, current_thread
from time import monotonic

logger = logging.getLogger(__name__)

WORKERS = 4
LIMIT = 1000
REST = 1.0
"""Seconds for which something is left alone after its refresh failed."""
IDLE = 10.0
"""Seconds without work after which a thread ends."""
FAREWELL = 5.0
"""Seconds for which `close` waits for what is running, all together."""


class Refresher:
    """Runs jobs on up to `workers` threads, each subject once at a time. Thread-safe; threads start when they are needed."""

    def __init__(self, monotonic: Callable[[], float], *, workers: int = WORKERS, limit: int = LIMIT) -> None:
        self._monotonic, self._workers, self._limit = monotonic, workers, limit
        self.closed = False
        self.abandon()

    def abandon(self) -> None:
        """Start anew: at first, and in a child after a fork."""
        self._changed = Condition()  # guards everything below
        self._queue: deque[tuple[Hashable, Callable[[], None]]] = deque()
        self._pending: set[Hashable] = set()
        self._resting: dict[Hashable, float] = {}
        self._threads: set[Thread] = set()
        self._idle = 0

    def submit(self, subject: Hashable, job: Callable[[], None]) -> bool:
        """Have `job` done, unless one for `subject` is under way or has just failed; False if too many are waiting."""
        if subject in self._pending:
            return True
        with self._changed:
            if self.closed or subject in self._pending or self._rests(subject):
                return True
            if len(self._queue) >= self._limit:
                return False
            self._pending.add(subject)
            self._queue.append((subject, job))
            self._staff()
            self._changed.notify()
        return True

    def close(self) -> None:
        """Forget what is waiting, and give what is running a few seconds to end. Idempotent."""
        with self._changed:
            self.closed = True
            self._queue.clear()
            threads = self._threads - {current_thread()}
            self._changed.notify_all()
        end = monotonic() + FAREWELL
        for thread in threads:
            thread.join(timeout=max(0.0, end - monotonic()))

    # Private

    def _rests(self, subject: Hashable) -> bool:
        until = self._resting.get(subject)
        if until is None:
            return False
        if self._monotonic() < until:
            return True
        del self._resting[subject]
        return False

    def _staff(self) -> None:
        if len(self._queue) <= self._idle or len(self._threads) >= self._workers:
            return
        thread = Thread(target=self._run, name="tiered-refresh", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system gives no more threads; the values just expire in their time
            logger.warning("no thread to refresh values (%s)", error)
        else:
            self._threads.add(thread)

    def _run(self) -> None:
        try:
            while (task := self._next()) is not None:
                self._do(*task)
        finally:
            with self._changed:
                self._threads.discard(current_thread())

    def _next(self) -> tuple[Hashable, Callable[[], None]] | None:
        with self._changed:
            self._idle += 1
            try:
                self._changed.wait_for(lambda: self._queue or self.closed, IDLE)
            finally:
                self._idle -= 1
            if self._queue and not self.closed:
                return self._queue.popleft()
            self._threads.discard(current_thread())  # with the lock held: who submits now starts another
            return None

    def _do(self, subject: Hashable, job: Callable[[], None]) -> None:
        failed = True
        try:
            job()
            failed = False
        except Exception:  # whatever a loader raises: the present value stays, and nobody waits for this one
            told = "a refresh of %s in the background failed; the present value stays until it expires"
            logger.warning(told, subject, exc_info=True)
        finally:
            with self._changed:
                self._pending.discard(subject)
                if failed:
                    if len(self._resting) >= self._limit:
                        self._resting.clear()
                    self._resting[subject] = self._monotonic() + REST
