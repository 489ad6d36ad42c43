"""Feeding cache tiers from the journal: after `set` has returned, instead of before (`feed="journal"`).

The commit has left a pending mark and the key is owed, so nothing waits for a cache tier and nothing old is read there;
a thread of the process replays what has gathered, after a pause: to feed each write alone would cost more than `set` saves.
"""

from __future__ import annotations

import logging
from threading import Event, Lock, Thread

from tiered.chain import Chain
from tiered.errors import StoreError, without_tier
from tiered.forks import Forking, register
from tiered.replication.replay import Replay

logger = logging.getLogger(__name__)

PAUSE = 0.02
"""Seconds for which writes gather before they are fed, or until the next try while another process of the directory replays."""


class Feeder(Forking):
    """Replays what was just committed. Starts on first use; `stop` feeds once more and ends it. Thread-safe."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._replay = Replay(chain)
        self.after_fork_in_child()
        register(self)

    def after_fork_in_child(self) -> None:
        """Nothing is started; so it is at first, too."""
        self._due = Event()
        self._lock = Lock()  # guards the start and the end of the thread
        self._thread: Thread | None = None
        self._ending = Event()

    def wake(self) -> None:
        """Something was committed. If no thread can be started, the keeper's next look replays it."""
        if self._thread is None:
            self._start()
        if not self._due.is_set():
            self._due.set()

    def stop(self) -> None:
        """Whoever is still owed something then keeps its marks: another process, or the next one, replays them."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._ending.set()
        self._due.set()
        if thread is not None:
            thread.join(timeout=5.0)

    def feed(self) -> bool:
        """Replay to every tier in service; whether all have got what they are owed. Public so that tests can do it by hand."""
        done = True
        for guard in self._chain.guards:
            if not guard.owed or not guard.breaker.closed:
                continue
            try:
                self._replay.run(guard)
            except StoreError as error:
                if error.tier == guard.name:
                    guard.failed("feed", error)
                else:
                    logger.warning("%s: stays owed: %s", guard.name, without_tier(error, guard.name))
            else:
                done = done and not self._replay.due(guard, guard.owed.debts())
        return done

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None or self._ending.is_set():
                return
            thread = Thread(target=self._run, name="tiered-feeder", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the process may have no more; the next call tries again
                logger.warning("the thread that feeds cache tiers cannot start: %s", error)
                return
            self._thread = thread

    def _run(self) -> None:
        done, last = True, False
        while not last:
            if done and not self._ending.is_set():
                self._due.wait()
            last = self._ending.wait(PAUSE)  # before it feeds, so that what was committed until then is fed, too
            self._due.clear()
            try:
                done = self.feed()
            except Exception:  # whatever a third party's tier raises; the keeper goes on looking after it
                logger.exception("the feeder met an unexpected error and goes on")
                done = True
