"""`get_or_set`: one loader per key in the process and in the cluster, stale values instead of waiting, early refresh."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

from tiered.arguments import Ttl
from tiered.chain import Chain, Space
from tiered.entry import version_of
from tiered.errors import CodecError, RecursiveLoad, StoreError
from tiered.fetching import Found
from tiered.reading import Reader
from tiered.refreshing import Refresher
from tiered.replication.guard import Guard
from tiered.replication.leases import Lease, Leases
from tiered.replication.singleflight import Copy, Load, SingleFlight
from tiered.terms import Job
from tiered.tiers.base import Write, Written

logger = logging.getLogger(__name__)

_open: weakref.WeakSet[Loading] = weakref.WeakSet()


class Loading:
    """What all namespaces of a chain share: the loads under way, leases, the threads for refreshes."""

    def __init__(self, chain: Chain, *, shared: bool, lease_ttl: float, patience: float) -> None:
        self.chain, self.patience = chain, patience
        self.flights = SingleFlight(chain, patience)
        self.leases = Leases(chain, shared=shared, ttl=lease_ttl)
        self.refresher = Refresher(chain.clock.monotonic)
        _open.add(self)

    def close(self) -> None:
        """End the background threads. Idempotent."""
        self.refresher.close()
        self.leases.heartbeat.stop()
        _open.discard(self)

    def abandon(self) -> None:
        """In a child after a fork: no load, lease or thread of the parent is this process's."""
        self.flights.abandon()
        self.leases.heartbeat.abandon()
        self.refresher.abandon()


class Loads:
    """`get_or_set` in one namespace, below a miss. Thread-safe.

    `draft` makes a checked write of a value, `write` commits and publishes it.
    """

    def __init__(
        self,
        loading: Loading,
        space: Space,
        reader: Reader,
        draft: Callable[[str, Any, Ttl, int | None], Write],
        write: Callable[[Write, Any], tuple[Written, Any]],
    ) -> None:
        self._chain, self._loading, self._space = loading.chain, loading, space
        self._flights, self._leases, self._refresher = loading.flights, loading.leases, loading.refresher
        self._reader, self._draft, self._write = reader, draft, write

    def load(self, key: str, job: Job) -> Any:
        """The value of `key`: loaded here, by the thread or process that is loading it already, or (if allowed) stale."""
        until = self._chain.clock.monotonic() + self._loading.patience
        timeouts = 0
        while True:
            load, mine = self._flights.enter(self._space, key, alone=timeouts > 1)
            if mine:
                copy = self._lead(key, load, job, until)
            elif (stale := self._stale(key, job)) is not None:
                return stale()
            else:
                self._space.stats.joined += 1
                timeouts += not self._flights.wait(key, load)
                copy = load.copy
            if load.error is not None:
                return self._instead(key, job, load)
            if copy is not None:
                return copy()

    def is_due(self, ahead: int, expires_at: float | None) -> bool:
        """Whether what expires at `expires_at` (Unix seconds) does so within `ahead` ms."""
        return expires_at is not None and expires_at * 1000 - self._chain.clock.now() <= ahead

    def refresh(self, key: str, job: Job) -> None:
        """Have `key` loaded again in the background, unless that is under way."""
        task = partial(self._refresh, key, job._replace(background=True))
        self._space.stats.refresh_skipped += not self._refresher.submit((self._space, key), task)

    # Private

    def _refresh(self, key: str, job: Job) -> None:
        load, mine = self._flights.enter(self._space, key)
        if not mine:
            return
        self._lead(key, load, job, 0.0)
        if load.error is not None:
            self._space.stats.refresh_errors += 1
            raise load.error

    def _lead(self, key: str, load: Load, job: Job, until: float) -> Copy | None:
        """Do the load that others may join; None if there is nothing to return: it failed, or others are to do it."""
        try:
            lease = self._leases.take(self._space, key)
            if lease is None:
                if job.background:
                    return None
                if (stale := self._stale(key, job)) is not None:
                    return stale  # for this caller alone: those who joined may not want it
                self._space.stats.waited += 1
                lease = self._leases.wait(self._space, key, until)
            try:
                load.copy = self._produce(key, load, job, lease)
            finally:
                self._leases.release(lease)
        except Exception as error:
            load.error = error
        finally:  # an interrupted one leaves neither value nor error, and one of those who wait takes over
            self._flights.leave(self._space, key, load)
        return load.copy

    def _produce(self, key: str, load: Load, job: Job, lease: Lease) -> Copy:
        """What another load has stored by now, or the loader's value."""
        found = self._reader.read(self._space, key)
        if found.slot is not None and not (job.background and self.is_due(job.ahead, found.slot[4] / 1000 or None)):
            return _copy(found)
        generation = self._space.generation
        load.begin(generation, found.version)
        self._space.stats.loads += 1
        self._space.stats.refreshed += job.background
        try:
            value = job.loader()
        except Exception as error:
            load.failed = not isinstance(error, RecursiveLoad)
            raise
        write = self._draft(key, value, job.ttl, 0 if found.slot is None else found.version)
        if write.draft.expires_at:
            keep_until = write.draft.expires_at + job.stale
            write = write._replace(draft=write.draft._replace(keep_until=keep_until))
        if not (lease.kept() and self._unchanged(key, load, found) and self._store(write, value, found)):
            self._space.stats.fenced += 1
            now = self._reader.read_many(self._space, (key,), caches=False)[key]
            if now.slot is not None:
                return _copy(now)
        return partial(self._chain.codec.decode, write.draft.payload)

    def _unchanged(self, key: str, load: Load, found: Found) -> bool:
        """Whether the key was neither deleted nor cleared since the loader began; a `set` is for the record to see."""
        if load.overtaken(self._chain.record.generation(self._space.name)):
            return False
        return not any(self._newer(guard, key, found.version) for guard in self._chain.guards)

    def _newer(self, guard: Guard, key: str, version: int) -> bool:
        """Whether a cache tier knows of a later write or delete; also one that owes the key, and may not be read."""
        frame = guard.attempt("look before a store", lambda: guard.tier.get(self._space.scope, key))
        return isinstance(frame, bytes) and version_of(frame) > version

    def _store(self, write: Write, value: Any, found: Found) -> bool:
        """Commit on the condition that nobody was faster."""
        written = self._write(write, value)[0]
        expired = found.slot is not None and 0 < found.slot[4] <= self._chain.clock.now()
        if not written.version and not written.existed and expired:  # the refreshed value came to its end meanwhile
            written = self._write(write._replace(expect=0), value)[0]
        return bool(written.version)

    def _instead(self, key: str, job: Job, load: Load) -> Any:
        """For a load that failed: the stale value, if the loader is to blame and there is one; else raises."""
        assert load.error is not None
        stale = self._stale(key, job) if load.failed else None
        if stale is None:
            raise load.error
        return stale()

    def _stale(self, key: str, job: Job) -> Copy | None:
        """A value that expired no longer ago than the caller allows. Never raises: there is something better to raise."""
        if not job.stale:
            return None
        try:
            frame = self._chain.record.read(self._space.name, key)[1]
            if frame is None:
                return None
            entry, now = self._space.entry(frame, key), self._chain.clock.now()
            lately = 0 < entry.expires_at <= now < min(entry.expires_at + job.stale, entry.keep_until)
            if entry.tombstone or not lately:
                return None
            value = self._chain.decode(entry)
        except (StoreError, CodecError) as error:
            logger.warning("cannot look for an expired value: %s", error)
            return None
        self._space.stats.stale_served += 1
        return lambda: value


def _copy(found: Found) -> Copy:
    """Of what a read found: immutable values are shared, others decoded for each caller."""
    assert found.slot is not None
    content, decode = found.slot[0], found.slot[2]
    return (lambda: content) if decode is None else partial(decode, content)


def _after_fork() -> None:
    for loading in list(_open):
        loading.abandon()


os.register_at_fork(after_in_child=_after_fork)
