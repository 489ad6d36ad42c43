"""Group commit: callers that wait at the same moment share one transaction.

The first caller leads and runs everything that waits with it. When it is done, the next in the queue becomes the
leader before the followers are woken, so that the disk is never idle while threads are. A caller that meets nobody
pays for two uncontended mutex operations.
"""

from __future__ import annotations

from _thread import allocate_lock
from collections import deque
from collections.abc import Callable
from typing import Any

MAX_BATCH = 64


class Job:
    """One caller's work. `done` is held until there is a result, or until the caller has become the leader."""

    __slots__ = ("done", "error", "leads", "result", "work")

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self.work = work
        self.result: Any = None
        self.error: BaseException | None = None
        self.leads = False
        self.done = allocate_lock()
        self.done.acquire()


class Combiner:
    """Runs jobs in batches, one batch at a time. `run` gets a batch and sets each job's result or error."""

    def __init__(self, run: Callable[[list[Job]], None]) -> None:
        self._run = run
        self._mutex = allocate_lock()  # guards the two below; never held while a batch runs
        self._waiting: deque[Job] = deque()
        self._busy = False

    def submit(self, work: Callable[[Any], Any]) -> Any:
        """Run `work` in the next batch and return its result, or raise its error."""
        job = Job(work)
        with self._mutex:
            job.leads = not self._busy
            self._busy = True
            if not job.leads:
                self._waiting.append(job)
        if not job.leads:
            self._wait(job)
        if job.leads:
            self._lead(job)
        if job.error is not None:
            raise job.error
        return job.result

    def _wait(self, job: Job) -> None:
        try:
            job.done.acquire()
        except BaseException:  # a signal handler raised: never leave a leader behind that nobody plays
            with self._mutex:
                waiting = job in self._waiting
                if waiting:
                    self._waiting.remove(job)
            if not waiting:
                job.done.acquire()
                if job.leads:
                    self._hand_over([])
            raise

    def _lead(self, job: Job) -> None:
        batch = [job]
        with self._mutex:
            while self._waiting and len(batch) < MAX_BATCH:
                batch.append(self._waiting.popleft())
        try:
            self._run(batch)
        finally:
            self._hand_over(batch[1:])

    def _hand_over(self, followers: list[Job]) -> None:
        with self._mutex:
            successor = self._waiting.popleft() if self._waiting else None
            self._busy = successor is not None
        if successor is not None:
            successor.leads = True
            successor.done.release()
        for follower in followers:
            follower.done.release()
