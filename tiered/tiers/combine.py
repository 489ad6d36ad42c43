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
    """One caller's work. `done` is released once: when the job is over, or when its caller is to lead.

    `lazy` work may be lost in a power cut; a batch of nothing else need not wait for the disk.
    """

    __slots__ = ("done", "error", "lazy", "leads", "over", "queued", "result", "settled", "work")

    def __init__(self, work: Callable[[Any], Any] | None, lazy: bool = False) -> None:
        self.work = work
        self.lazy = lazy
        self.result: Any = None
        self.error: BaseException | None = None
        self.leads = False
        self.over = False
        self.queued = False
        self.settled = False  # for `run`: whether the outcome is certain
        self.done = allocate_lock()
        self.done.acquire()


class Combiner:
    """Runs jobs in batches, one batch at a time. `run` gets a batch and sets each job's result or error.

    `run` may raise what is meant for its own caller only (the first job), after it has settled all the others.
    """

    def __init__(self, run: Callable[[list[Job]], None]) -> None:
        self._run = run
        self._mutex = allocate_lock()  # guards the two below; never held while a batch runs
        self._waiting: deque[Job] = deque()
        self._busy = False

    def submit(self, work: Callable[[Any], Any], *, lazy: bool = False) -> Any:
        """Run `work` in the next batch and return its result, or raise its error."""
        job = Job(work, lazy)
        batch = [job]
        try:
            self._enter(job)
            if job.leads:
                self._gather(batch)
                self._run(batch)
        finally:  # whatever a signal handler raises: never leave a leader behind that nobody plays
            if job.leads:
                self._hand_over(batch[1:])
        if job.error is not None:
            raise job.error
        return job.result

    def pause(self) -> None:
        """Wait for the running batch and let no other start until `resume`."""
        job = Job(None)
        try:
            self._enter(job)
        except BaseException:
            if job.leads:
                self._hand_over([])
            raise

    def resume(self) -> None:
        """Let the next batch start; only after `pause`."""
        self._hand_over([])

    def _enter(self, job: Job) -> None:
        """Returns when `job` is over, or when its caller leads."""
        try:
            with self._mutex:
                job.leads = not self._busy
                self._busy = True
                if not job.leads:
                    job.queued = True
                    self._waiting.append(job)
            if not job.leads:
                job.done.acquire()
        except BaseException:  # a signal handler raised
            self._leave(job)
            raise

    def _leave(self, job: Job) -> None:
        """Take `job` out of the queue, or wait while somebody else works on it."""
        with self._mutex:
            waiting = job in self._waiting
            if waiting:
                self._waiting.remove(job)
        # `done` may already have been taken before the interrupt: it is released only once.
        if job.queued and not (waiting or job.leads or job.over):
            job.done.acquire()

    def _gather(self, batch: list[Job]) -> None:
        with self._mutex:
            # A pause is never part of a batch: it stays first in the queue and gets the next turn.
            while self._waiting and self._waiting[0].work is not None and len(batch) < MAX_BATCH:
                batch.append(self._waiting.popleft())

    def _hand_over(self, followers: list[Job]) -> None:
        with self._mutex:
            successor = self._waiting.popleft() if self._waiting else None
            self._busy = successor is not None
            if successor is not None:
                successor.leads = True  # under the mutex: `_leave` must never see it neither waiting nor leading
        if successor is not None:
            successor.done.release()
        for follower in followers:
            follower.over = True
            follower.done.release()
