"""`get_or_set`: one loader per key in the process and in the cluster, stale values instead of waiting, early refresh."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from tiered.arguments import Ttl, check_function, check_key
from tiered.chain import Chain, Space
from tiered.drafting import own
from tiered.entry import version_of
from tiered.errors import CodecError, RecursiveLoad, StoreError
from tiered.found import Found
from tiered.handlers import pass_on
from tiered.reading import Reader
from tiered.refreshing import Refresher
from tiered.replication.guard import Guard
from tiered.replication.leases import Lease, Leases
from tiered.replication.singleflight import Copy, Load, SingleFlight, Stay
from tiered.results import Lookup
from tiered.steps import Ask, Commit, Look, Produce, Read, Refresh, Steps, drive
from tiered.terms import Job
from tiered.tiers.base import Write, Written

logger = logging.getLogger(__name__)

_open: weakref.WeakSet[Loading] = weakref.WeakSet()


class LoopEnded(RuntimeError):
    """The event loop of an async loader in the background has come to its end before the loader did."""


class _Subject(NamedTuple):
    """What a refresh in the background is of."""

    space: Space
    key: str

    def __str__(self) -> str:
        return f"{self.key!r:.100} in namespace {self.space.name}"


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

    def obtain(self, key: str, job: Job, look: Callable[[str], Lookup]) -> Steps[Any]:
        """The value of `key` as it is, loaded again in the background if that is due; else `load`."""
        key = self._checked(key, job)
        found: Lookup = yield Look(partial(look, key), key)
        if not found.found:
            return (yield from self.load(key, job))
        if job.ahead and self._is_due(job.ahead, found.expires_at):
            start = partial(self._start_refresh, key, job)
            yield Refresh(partial(start, job.loader), start, job.loader)
        return found.value

    def load(self, key: str, job: Job) -> Steps[Any]:
        """The value of `key`: loaded here, by whoever in this or another process is loading it already, or (if allowed) stale."""
        key = self._checked(key, job)
        until = self._chain.clock.monotonic() + self._loading.patience
        timeouts = 0
        while True:
            stay, interrupt = Stay(), None
            try:
                load, mine = self._flights.enter(self._space, key, stay, alone=timeouts > 1)
                if mine:
                    copy = yield from self._lead(load, job, until)
            finally:  # an interrupted one leaves neither value nor error, and one of those who wait takes over
                while stay.load is not None:
                    try:
                        self._flights.leave(stay)
                    except BaseException as error:  # a signal handler's
                        interrupt = error
            if interrupt is not None:
                raise interrupt
            if not mine:
                if (stale := (yield from self._look_for_stale(key, job))) is not None:
                    return stale()
                self._space.stats.joined += 1
                timeouts += not (yield from self._flights.wait(load))
                copy = load.copy
            if load.error is not None:
                return (yield from self._instead(job, load))
            if copy is not None:
                return copy()

    # Private

    def _checked(self, key: str, job: Job) -> str:
        check_function(job.loader, "get_or_set takes a function that makes the value")
        return check_key(key, self._chain.max_key_bytes)

    def _is_due(self, ahead: int, expires_at: float | None) -> bool:
        """Whether what expires at `expires_at` (Unix seconds) does so within `ahead` ms."""
        return expires_at is not None and expires_at * 1000 - self._chain.clock.now() <= ahead

    def _start_refresh(self, key: str, job: Job, loader: Callable[[], Any]) -> None:
        """Have `key` loaded again by `loader` on a thread in the background, unless that is under way."""
        job = job._replace(loader=loader, background=True)
        task = partial(_drive, self._refresh, key, job)
        count = not self._refresher.submit(_Subject(self._space, key), task)
        self._space.stats.refresh_skipped += count

    def _refresh(self, key: str, job: Job) -> Steps[None]:
        stay = Stay()  # in a thread of our own, which no signal handler interrupts
        load, mine = self._flights.enter(self._space, key, stay)
        if not mine:
            return
        try:
            yield from self._lead(load, job, 0.0)
        except LoopEnded:
            self._space.stats.refresh_errors += 1
            raise
        finally:
            self._flights.leave(stay)
        if load.error is not None:
            self._space.stats.refresh_errors += 1
            raise load.error

    def _lead(self, load: Load, job: Job, until: float) -> Steps[Copy | None]:
        """Do the load that others may join; None if there is nothing to return: it failed, or others are to do it."""
        space, key, leases = self._space, load.key, self._leases
        load.ending = partial(job.later, partial(leases.release_of, load))
        try:
            lease: Lease | None = yield Ask(partial(leases.take, space, key, load), leases.give_back)
            if lease is None:
                if job.background:
                    return None
                if (stale := (yield from self._look_for_stale(key, job))) is not None:
                    return stale  # for this caller alone: those who joined may not want it
                space.stats.waited += 1
                lease = yield from leases.wait(space, key, until, load)
            load.copy = yield from self._produce(load, job, lease)
        except LoopEnded:  # nobody's loader has failed: of those who wait another loads
            raise
        except Exception as error:
            if not load.failed:  # in a loader, a time limit may be its own
                pass_on(error)
            load.error = error
        return load.copy

    def _produce(self, load: Load, job: Job, lease: Lease) -> Steps[Copy]:
        """What another load has stored by now, or the loader's value."""
        space, key = self._space, load.key
        found: Found = yield Read(partial(self._reader.read, space, key), key)
        if found.slot is not None and not (job.background and self._is_due(job.ahead, found.slot[4] / 1000 or None)):
            return _copy(found)
        load.begin(space.generation, found.version)
        value = own((yield from self._run(load, job)))
        write = self._draft(key, value, job.ttl, 0 if found.slot is None else found.version)
        if write.draft.expires_at:
            keep_until = write.draft.expires_at + job.stale
            write = write._replace(draft=write.draft._replace(keep_until=keep_until))
        allowed = yield Ask(lambda: lease.kept() and self._unchanged(load, found))
        if not (allowed and (yield from self._store(write, value, found))):
            space.stats.fenced += 1
            now: Found = (yield Ask(partial(self._reader.read_many, space, (key,), caches=False)))[key]
            if now.slot is not None:
                return _copy(now)
        else:
            space.stats.stored += 1
        return partial(self._chain.codec.decode, write.draft.payload)

    def _run(self, load: Load, job: Job) -> Steps[Any]:
        """The loader's value, counted and timed."""
        stats, now = self._space.stats, self._chain.clock.monotonic
        began = now()
        stats.loads += 1
        stats.refreshed += job.background
        try:
            with load.loader():
                return (yield Produce(job.loader))
        except Exception as error:
            stats.load_errors += 1
            load.failed = not isinstance(error, RecursiveLoad)
            raise
        finally:
            stats.load_time.observe(now() - began)

    def _unchanged(self, load: Load, found: Found) -> bool:
        """Whether the key was neither deleted nor cleared since the loader began; a `set` is for the record to see."""
        if load.overtaken(self._chain.record.generation(self._space.name)):
            return False
        return not any(self._newer(guard, load.key, found.version) for guard in self._chain.guards)

    def _newer(self, guard: Guard, key: str, version: int) -> bool:
        """Whether a cache tier knows of a later write or delete; also one that owes the key, and may not be read."""
        frame = guard.attempt("look before a store", lambda: guard.tier.get(self._space.scope, key))
        return isinstance(frame, bytes) and version_of(frame) > version

    def _store(self, write: Write, value: Any, found: Found) -> Steps[bool]:
        """Commit on the condition that nobody was faster."""
        written: Written = (yield Commit(partial(self._write, write, value), write, value))[0]
        expired = found.slot is not None and 0 < found.slot[4] <= self._chain.clock.now()
        if not written.version and not written.existed and expired:  # the refreshed value came to its end meanwhile
            write = write._replace(expect=0)
            written = (yield Commit(partial(self._write, write, value), write, value))[0]
        return bool(written.version)

    def _instead(self, job: Job, load: Load) -> Steps[Any]:
        """For a load that failed: the stale value, if the loader is to blame and there is one; else raises."""
        assert load.error is not None
        stale = (yield from self._look_for_stale(load.key, job)) if load.failed else None
        if stale is None:
            raise load.error
        return stale()

    def _look_for_stale(self, key: str, job: Job) -> Steps[Copy | None]:
        stale: Copy | None = None
        if job.stale:
            stale = yield Ask(partial(self._stale, key, job))
        return stale

    def _stale(self, key: str, job: Job) -> Copy | None:
        """A value that expired no longer ago than the caller allows. Never raises: there is something better to raise."""
        try:
            frame = self._chain.record.read(self._space.name, key)[1]
            if frame is None:
                return None
            entry, now = self._space.frames.open(frame, key), self._chain.clock.now()
            lately = 0 < entry.expires_at <= now < min(entry.expires_at + job.stale, entry.keep_until)
            if entry.tombstone or not lately:
                return None
            value = self._chain.decode(entry)
        except (StoreError, CodecError) as error:
            logger.warning("cannot look for an expired value: %s", error)
            return None
        self._space.stats.stale_served += 1
        self._space.stats.stale_age.observe((now - entry.expires_at) / 1000)
        return lambda: value


def _drive(operation: Callable[..., Steps[None]], *args: Any) -> None:
    drive(operation(*args))


def _copy(found: Found) -> Copy:
    """Of what a read found: immutable values are shared, others decoded for each caller."""
    assert found.slot is not None
    content, decode = found.slot[0], found.slot[2]
    return (lambda: content) if decode is None else partial(decode, content)


def _after_fork() -> None:
    for loading in list(_open):
        loading.abandon()


os.register_at_fork(after_in_child=_after_fork)
