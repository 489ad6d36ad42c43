"""The background thread of a chain: pays debts, probes tiers that are out of service, repairs and readmits them.

It also looks at the record's pending marks and generations twice within the staleness bound, so that what another
process could not publish is noticed here (PROTOCOL R7), and replays marks that a crashed process left behind.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable
from threading import Event, Lock, Thread

from tiered.chain import Chain, Space
from tiered.entry import MAX_VERSION, expires_at_of, tombstone, version_of
from tiered.errors import StoreError
from tiered.replication.guard import Guard
from tiered.tiers.base import Mark

logger = logging.getLogger(__name__)

BATCH = 500
PAUSE = 0.4
"""Seconds between two looks."""

Debt = tuple[str, str, int]
"""Namespace, key, version that the tier lacks."""


class Keeper:
    """Looks after the remote cache tiers of a chain. Starts on first use; `stop` ends it."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._seen: dict[str, set[Mark]] = defaultdict(set)
        self._stop = Event()
        self._lock = Lock()  # guards the start of the thread
        self._thread: Thread | None = None
        self.started = not chain.guards
        """Read before each remote operation, so a plain attribute. A chain without remote caches needs no keeper."""

    def start(self) -> None:
        """Begin looking; does nothing the second time."""
        with self._lock:
            if not self.started:
                self._thread = Thread(target=self._run, name="tiered-keeper", daemon=True)
                self._thread.start()
                self.started = True

    def stop(self) -> None:
        """End the thread and write out confirmations that still wait."""
        with self._lock:
            thread, self._thread, self.started = self._thread, None, True
        self._stop.set()
        if thread is not None:
            thread.join(timeout=5.0)
        self._flush()

    def replay(self, guard: Guard) -> int:
        """Pay now what a tier is owed and what is pending for it; how many keys were put. Raises `StoreError`."""
        if guard.identity is None:
            guard.identity = guard.tier.probe()
        self._flush()  # what was confirmed is not put again
        paid = self._pay(guard, self._pending(guard))
        self._flush()
        return paid

    def look(self) -> None:
        """One round; public so that tests can go round by hand."""
        self._flush()
        for space in self._chain.spaces():
            self._chain.learn(space, self._chain.record.generation(space.name))
        for guard in self._chain.guards:
            if guard.breaker.closed:
                self._attend(guard)
            elif guard.breaker.probe_due():
                self._readmit(guard)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
            except StoreError as error:
                logger.warning("the keeper could not look at the store of record: %s", error)
            except Exception:  # whatever a third party's tier raises: without a keeper no tier would ever come back
                logger.exception("the keeper met an unexpected error and goes on")
            self._stop.wait(PAUSE)

    def _flush(self) -> None:
        journal = self._chain.record.journal
        if journal is not None:
            try:
                journal.flush()
            except StoreError as error:
                logger.warning("confirmations stay pending: %s", error)

    def _attend(self, guard: Guard) -> None:
        """A tier in service: owe what stayed pending for two looks, whoever wrote it, and pay what is owed."""
        if guard.identity is None and not self._meet(guard):
            return
        marks = set(self._pending(guard))
        left = marks & self._seen[guard.name]
        for mark in left:
            guard.owe(mark.namespace, mark.key, mark.version)
            self._invalidate(mark)
        self._seen[guard.name] = marks
        try:
            self._pay(guard, left)
        except StoreError as error:
            if error.tier == guard.name and error.reason.trips_breaker:
                guard.breaker.failure()

    def _readmit(self, guard: Guard) -> None:
        """Probe → new generation if its data changed → replay → in service again (R10: nobody reads it before)."""
        try:
            identity = guard.tier.probe()
            if guard.owed.lost or identity != guard.identity:
                guard.owed.forgive()
                self._new_generation(guard, identity)
            replayed = self._pay(guard, self._pending(guard))
        except StoreError as error:
            guard.breaker.probe_failed()
            logger.info("%s: still out of service: %s", guard.name, error)
            return
        guard.breaker.close()
        logger.warning("%s: in service again, %d writes replayed", guard.name, replayed)

    def _meet(self, guard: Guard) -> bool:
        """Learn which run of the server this is."""
        try:
            guard.identity = guard.tier.probe()
        except StoreError as error:
            if error.reason.trips_breaker:
                guard.breaker.failure()
            return False
        return True

    def _new_generation(self, guard: Guard, identity: str) -> None:
        self._chain.record.bump()
        for space in self._chain.spaces():
            self._chain.learn(space, self._chain.record.generation(space.name))
        logger.warning("%s: its data cannot be trusted (another run, or debts uncounted): new generation", guard.name)
        guard.identity = identity

    def _pending(self, guard: Guard) -> list[Mark]:
        """All pending marks of a tier, in pages."""
        journal, marks = self._chain.record.journal, list[Mark]()
        while journal is not None:
            after = (marks[-1].namespace, marks[-1].key) if marks else None
            page = journal.pending(guard.name, limit=BATCH, after=after)
            marks += page
            if len(page) < BATCH:
                break
        return marks

    def _pay(self, guard: Guard, marks: Iterable[Mark]) -> int:
        """Put the record's present entry of every pending and owed key; returns how many keys were put."""
        wanted: dict[str, dict[str, int]] = defaultdict(dict)
        owed = guard.owed.some(len(guard.owed))
        for mark in marks:
            wanted[mark.namespace][mark.key] = mark.version
        for namespace, key, version in owed:
            wanted[namespace][key] = max(version, wanted[namespace].get(key, 0))
        for namespace, keys in wanted.items():
            space, todo = self._chain.space(namespace), list(keys.items())
            for start in range(0, len(todo), BATCH):
                self._put(guard, space, dict(todo[start : start + BATCH]))
        for namespace, key, version in owed:
            guard.owed.settle(namespace, key, version)
        if self._chain.record.journal is not None:
            self._chain.record.journal.confirm(list(marks))
        return sum(map(len, wanted.values()))

    def _put(self, guard: Guard, space: Space, keys: dict[str, int]) -> None:
        generation, frames = self._chain.record.read_many(space.name, list(keys))
        items, now = [], self._chain.clock.now()
        for (key, version), frame in zip(keys.items(), frames, strict=True):
            if frame is not None and 0 < expires_at_of(frame) <= now:
                version, frame = version_of(frame), None
            if frame is None and 0 < version < MAX_VERSION:
                frame = tombstone(space.seed, key, now).seal(version)
            if frame is not None:
                items.append((key, frame))
        if items:
            guard.tier.put_many(f"{space.name}:{generation}", items)
            guard.stats.replayed += len(items)

    def _invalidate(self, mark: Mark) -> None:
        """Another process could not publish this write: what memory holds below it is old."""
        space = self._chain.space(mark.namespace)
        with self._chain.memory.lock:
            held = space.part.slots.get(mark.key)
            if held is not None and held[3] < mark.version:
                self._chain.memory.drop(space.part, mark.key)
            space.flights.mark(mark.key, mark.version)
