"""Group commit: callers that wait at the same moment share one transaction.

The first caller leads and runs everything that waits with it. When it is done, the next in the queue becomes the
leader before the followers are woken, so that the disk is never idle while threads are. Each follower wakes the next
one: woken all at once they would only queue again, for the interpreter's lock, in front of the new leader. A caller
that meets nobody pays for two uncontended mutex operations.

A signal handler may raise between any two steps of the main thread. Whatever must happen afterwards is therefore
written so that it can be repeated, and is repeated until it was done. One that asks for something to be done would wait for its own
thread, as would a finalizer: it is refused.
"""

from __future__ import annotations

from _thread import allocate_lock
from collections import deque
from collections.abc import Callable
from itertools import repeat
from threading import local
from typing import Any

from tiered.errors import NotApplied, Reason

MAX_BATCH = 64

_done = allocate_lock()  # never waited for: stands in for the lock of a job that was never queued


class Job:
    """One caller's work. `done` is released when the job is over, or when its caller is to lead.

    `lazy` work may be lost in a power cut; a batch of nothing else need not wait for the disk.
    """

    result: Any = None
    error: BaseException | None = None
    settled = False  # by `run`: whether the outcome is certain
    done = _done
    queued = led = over = False
    successor: Job | None = None
    next: Job | None = None

    def __init__(self, work: Any, lazy: bool = False) -> None:
        self.work, self.lazy = work, lazy


class Impatient(Exception):
    """The job was not begun: its caller has waited long enough, or whoever led was interrupted."""


class Combiner:
    """Runs jobs in batches, one batch at a time. `run` gets a batch; it sets each job's result and `settled`, or its error.

    `run` may raise what is meant for its own caller only (the first job), after it has told all the others. Those
    that it never came to, because a signal handler raised before, raise `NotApplied` with `name` as the tier.

    With `patience`, a job that was not begun after so many seconds raises `Impatient`, as do those instead of `NotApplied`.
    """

    def __init__(self, run: Callable[[list[Job]], None], name: str = "", *, patience: float | None = None) -> None:
        self._run = run
        self._name, self._patience = name, patience
        self._mutex = allocate_lock()  # guards the two below; never held while a batch runs
        self._waiting: deque[Job] = deque()  # pauses before all others
        self._leader: Job | None = None
        self._own = local()  # the job of this thread, over or not

    def submit(self, work: Any, *, lazy: bool = False) -> Any:
        """Have `work` (for `run` to understand; not None) done in the next batch; returns its result, or raises its error."""
        self._check_outermost()
        job = Job(work, lazy)
        batch = [job]
        interrupt: BaseException | None = None
        try:
            self._own.job = job
            if self._enter(job):
                self.gather(batch)
                self._run(batch)
        finally:
            while not job.over or job.next is not None:
                try:
                    self._settle(job, batch)
                except BaseException as error:
                    interrupt = error
        self._own.job = None
        if interrupt is not None:
            raise interrupt
        if job.error is not None:
            raise job.error
        return job.result

    def gather(self, batch: list[Job]) -> None:
        """For `run`: add those who have arrived meanwhile to the batch it was given; its leader wakes them."""
        waiting = self._waiting
        if not waiting:
            return
        with self._mutex:
            if waiting and waiting[0].work is not None:  # a pause is never part of a batch, and nobody overtakes it
                count = min(len(waiting), MAX_BATCH - len(batch))
                # One call, so that no signal handler runs while a job is in neither of the two.
                batch.extend(map(deque.popleft, repeat(waiting, count)))

    def pause(self) -> None:
        """Wait for the running batch and let no other start until `resume`.

        Raises `NotApplied` in a signal handler or finalizer inside a `submit` of this thread.
        """
        job: Job | None = getattr(self._own, "job", None)
        if job is not None and job.work is None and not job.over:
            return  # it is paused by this thread
        self._check_outermost()
        job = Job(None)
        try:
            self._own.job = job
            self._enter(job)
        except BaseException:
            while not job.over:  # with no followers
                self._settle(job, [job])
            raise

    def resume(self) -> None:
        """Let the next batch start after a `pause`. Idempotent."""
        job = self._leader
        if job is not None and job.work is None:
            self._settle(job, [job])

    def _check_outermost(self) -> None:
        job: Job | None = getattr(self._own, "job", None)
        if job is not None and not job.over:
            raise self._not_begun(
                "called by a signal handler or finalizer in the middle of another call of its thread: set a flag there, or raise",
                Reason.MISUSE,
            )

    def _enter(self, job: Job) -> bool:
        """Wait until `job` is over (False), or its caller is to lead (True)."""
        with self._mutex:
            if self._leader is None:
                self._leader = job
                return True
            done = job.done = allocate_lock()
            done.acquire()
            if job.work is None:
                self._waiting.appendleft(job)
            else:
                self._waiting.append(job)
            job.queued = True
        if not done.acquire(timeout=-1 if self._patience is None else self._patience) and not self._withdraw(job):
            done.acquire()  # it was begun just now
        return not job.over

    def _withdraw(self, job: Job) -> bool:
        """Take `job` back if it has not been begun."""
        with self._mutex:
            if job not in self._waiting:
                return False
            job.queued = False
            self._waiting.remove(job)
            job.error = Impatient()
            job.over = True
            return True

    def _settle(self, job: Job, batch: list[Job]) -> None:
        """End a turn: hand the lead over, or leave the queue, or wait for whoever works on `job`; then wake the next.

        Repeating it after an interrupt, wherever that came, completes it.
        """
        if not job.over:
            with self._mutex:
                self._step_down(job)
            if job.led:
                if job.successor is not None:
                    _wake(job.successor)
                before = job
                for follower in batch[1:]:
                    if not follower.settled and follower.error is None:
                        follower.error = self._not_begun("interrupted before it was begun")
                    follower.over = True
                    before.next = follower
                    before = follower
            elif job.queued:
                job.done.acquire()
            job.over = True
        if job.next is not None:
            _wake(job.next)
            job.next = None

    def _not_begun(self, message: str, reason: Reason = Reason.OTHER) -> Exception:
        if self._patience is not None:
            return Impatient()
        return NotApplied(message, tier=self._name, reason=reason)

    def _step_down(self, job: Job) -> None:
        """Under the mutex: `job` neither leads nor waits any more."""
        waiting = self._waiting
        if self._leader is job:
            job.successor = waiting[0] if waiting else None
            job.led = True
            self._leader = job.successor
        if job.led:
            if waiting and waiting[0] is job.successor:
                waiting.popleft()
        elif job in waiting:
            job.queued = False
            waiting.remove(job)


def _wake(job: Job) -> None:
    try:
        job.done.release()
    except RuntimeError:  # it was woken before an interrupt
        return
