"""Coherence between the memories of many processes: what others have written is dropped here when they tell of it.

A thread reads the messages that the put script publishes, in steps, not one by one: to wake up for every message would
cost a fifth of the throughput. A heartbeat on the same connection proves that every message before it has arrived.
Whenever that cannot be proven any more (silence, a new connection), memory is emptied and starts anew.
"""

from __future__ import annotations

import logging
import math
from threading import Event, Lock, Thread

from tiered.chain import Chain, Space
from tiered.errors import StoreError
from tiered.forks import Forking, register
from tiered.observability.events import transition
from tiered.tiers.base import Telling, Told

logger = logging.getLogger(__name__)

STEP = 0.02
"""Seconds between two looks at the connection."""
RETRY = 0.5
"""Seconds between two attempts to subscribe."""


class Coherence(Forking):
    """Listens for one chain. Starts on first use; `stop` ends it. Thread-safe."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        tellers = [guard.tier for guard in chain.guards if isinstance(guard.tier, Telling)]
        # Without a journal a writer that cannot reach the tier is not noticed, so the messages alone prove nothing.
        wanted = chain.shared and chain.has_memory and chain.record.journal is not None
        self._tier = tellers[0] if wanted and tellers else None
        self._beat_every = min(0.3, chain.trust.staleness / 5)
        self.stats = chain.coherence_stats
        self.stats.wanted = self._tier is not None
        self.after_fork_in_child()
        register(self)

    def after_fork_in_child(self) -> None:
        """Nobody listens yet; so it is at first, too."""
        self._stop = Event()
        self._lock = Lock()  # guards the start and the end of the thread
        self._thread: Thread | None = None

    def start(self) -> None:
        """Begin to listen, if the chain has what it takes. Idempotent."""
        if self._tier is None or self._thread is not None:
            return
        with self._lock:
            if self._thread is not None or self._stop.is_set():
                return
            thread = Thread(target=self._run, name="tiered-coherence", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # without messages memory is asked for again after δ
                logger.warning("the thread that listens to other processes cannot start: %s", error)
                return
            self._thread, self.stats.started = thread, True

    def stop(self) -> None:
        with self._lock:
            self._stop.set()
            thread = self._thread
        if thread is not None:
            thread.join(timeout=5.0)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._listen()
            except StoreError as error:
                if self.stats.connected:
                    message = "messages of other processes were lost (%s); memory starts anew"
                    logger.warning(message, error, extra=transition("unsubscribed", error.tier))
            except Exception:
                logger.exception("the subscription met an unexpected error; memory starts anew")
            finally:
                self._lose()
            self._stop.wait(RETRY)

    def _listen(self) -> None:
        assert self._tier is not None
        clock, trust, asked = self._chain.clock, self._chain.trust, 0
        subscription = self._tier.subscribe()
        try:
            sent, answered = -math.inf, clock.monotonic()
            waiting = False
            while not self._stop.wait(STEP):
                now = clock.monotonic()
                for space in self._chain.spaces()[asked:]:
                    subscription.add(space.name)
                    asked += 1
                if not waiting and now - sent > self._beat_every:
                    subscription.beat()
                    sent, waiting = now, True
                for told in subscription.receive():
                    if told.kind == "alive":
                        trust.heard, answered, waiting, self.stats.connected = sent, now, False, True
                        self.stats.lag.observe(clock.monotonic() - sent)
                    else:
                        self._hear(told)
                if now - answered > trust.staleness:
                    raise StoreError("no heartbeat came back")
        finally:
            subscription.close()

    def _hear(self, told: Told) -> None:
        space = self._chain.space(told.namespace)
        if told.kind == "subscribed":
            self._start_anew(space)
            return
        stats = self.stats
        count = len(told.versions)
        stats.received += count
        memory, flights = self._chain.memory, space.flights
        with memory.lock:
            for key, version in told.versions:
                older = memory.drop_older(space.part, key, version)
                stats.applied += older
                stats.stale += not older
                flights.change(key, version)

    def _start_anew(self, space: Space) -> None:
        """What memory holds from before may have missed a message (R4)."""
        with self._chain.memory.lock:
            self._chain.memory.empty(space.part)
            space.flights.renew()
            space.subscribed = True

    def _lose(self) -> None:
        self._chain.trust.heard = -math.inf
        self.stats.resyncs += self.stats.connected
        self.stats.connected = False
        for space in self._chain.spaces():
            if space.subscribed:
                self._start_anew(space)
                space.subscribed = False
