"""A lane: jobs in, a few daemon threads that do them, those that wait at the same moment together."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from itertools import count
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from time import monotonic
from typing import Any, Generic, Protocol, TypeVar

from tiered.forks import Forking, register

logger = logging.getLogger(__name__)

IDLE = 10.0
"""Seconds without work after which a thread ends."""
WORKERS = 4

_Job = TypeVar("_Job")


class Timer(Protocol):
    """What event loops are, too."""

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> object: ...


class Lane(Forking, Generic[_Job]):
    """Has `do`, which raises nothing, do jobs, up to `most` at a time, on up to four threads. Thread-safe.

    One thread that takes all that waits is faster than several that share it (benchmarks/asyncio_ratios.py), so with
    `most` above one another is started only when the others have been busy for `patience` seconds: a tier hangs. Whether
    they have been is seen by those who submit, and where something waits, by their timers.
    """

    def __init__(
        self,
        do: Callable[[list[_Job]], None],
        *,
        name: str,
        most: int = 1,
        patience: float = 0.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._do, self._name, self._most, self._patience, self._clock = do, name, most, patience, clock
        self._closed = False
        self._start()
        register(self)

    def _start(self) -> None:
        """At first, and in a child after a fork, where the threads are not."""
        self._jobs = OrderedDict[int, _Job]()  # any of them may leave at any time, which a deque would be searched for
        self._places = count()
        self._calls: SimpleQueue[None] = SimpleQueue()
        """One for each idle thread that is to look."""
        self._count = Lock()  # guards the next three
        self._threads = self._idle = 0
        self._began = 0.0
        """When the last batch was begun."""
        self._watch: tuple[Timer, ...] = ()
        """The last that was asked to call, until it does."""

    def submit(self, job: _Job, timer: Timer | None = None) -> int:
        """Have `job` done, by another thread if `timer` sees it wait; its place, for `withdraw`.

        After `close` it is done here, which finds everything closed.
        """
        place = next(self._places)
        self._jobs[place] = job
        if self._calls.qsize() < self._idle:  # who comes to wait from here on sees the job before
            self._calls.put(None)
        if self._is_short():
            self._staff()
        elif timer is not None and timer not in self._watch and self._may_wait():
            self._look_later(timer)
        if self._closed:
            self._clear()
        return place

    def withdraw(self, place: int) -> None:
        """Do not have the job there done, if it was not begun."""
        self._jobs.pop(place, None)

    def close(self) -> None:
        """Let the threads end when they have done what waits. Idempotent."""
        self._closed = True
        for _ in range(WORKERS):
            self._calls.put(None)

    def after_fork_in_child(self) -> None:
        self._start()

    # Private

    def _is_short(self) -> bool:
        if not self._threads:
            return True
        if self._most > 1:
            return not self._idle and self._clock() - self._began > self._patience
        return len(self._jobs) > self._idle

    def _may_wait(self) -> bool:
        """Whether a job that was just put in may be left by the thread that looks next, or there is none."""
        return (not self._idle or len(self._jobs) > 1) and self._most > 1

    def _look_later(self, timer: Timer) -> None:
        """Look again after `patience`. One look at a time is enough for a loop; the next may be of another, for this one may end."""
        self._watch = watch = (timer,)
        timer.call_later(self._patience, self._look, watch)

    def _look(self, watch: tuple[Timer]) -> None:
        last = self._watch is watch
        if last:
            self._watch = ()
        if self._jobs:
            if self._is_short():
                self._staff()
            if last:
                self._look_later(*watch)

    def _staff(self) -> None:
        with self._count:
            if self._threads >= WORKERS or self._closed:
                return
            self._threads += 1
            self._began = self._clock()
        try:
            Thread(target=self._work, name=self._name, daemon=True).start()
        except RuntimeError as error:
            with self._count:
                self._threads -= 1
                alone = not self._threads
            if alone:
                logger.warning("%s: no thread to be had (%s); the caller is kept waiting instead", self._name, error)
                self._clear()

    def _work(self) -> None:
        while (batch := self._take()) is not None:
            if self._most == 1 and self._is_short():  # two came while one thread was about to take one
                self._staff()
            self._do(batch)
            del batch  # while this thread waits, it must keep nothing alive

    def _take(self) -> list[_Job] | None:
        """The next batch; None when this thread is to end."""
        while True:
            with self._count:
                self._idle += 1
            called = self._is_called()
            with self._count:
                self._idle -= 1
                if batch := self._gather():
                    self._began = self._clock()
                    return batch
                if self._closed or not called:
                    self._threads -= 1
                    # Whoever put a job in before this line saw a thread; whoever does after it sees that there is one less.
                    if not self._jobs or self._closed:
                        return None
                    self._threads += 1

    def _is_called(self) -> bool:
        """Wait for a job; False if none comes for long. It may be another thread's by now."""
        if self._jobs:
            return True
        try:
            self._calls.get(timeout=IDLE)
        except Empty:
            return False
        return True

    def _gather(self) -> list[_Job]:
        """What waits, up to the most; from here on it is begun."""
        jobs, batch = self._jobs, list[_Job]()
        try:
            while jobs and len(batch) < self._most:
                batch.append(jobs.popitem(last=False)[1])
        except KeyError:
            pass  # the last was withdrawn at this moment
        return batch

    def _clear(self) -> None:
        """Do what waits in this thread."""
        while batch := self._gather():
            self._do(batch)
