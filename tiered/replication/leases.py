"""One loader per key among the processes: a lease from the fastest tier that can give one.

A lease saves work and is never relied on: no failure of it fails a call, nobody waits for one for ever,
and whoever loaded stores its value on the condition that nobody else has.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from tiered.chain import Chain, Space
from tiered.entry import expires_at_of, is_tombstone
from tiered.errors import StoreError
from tiered.jitter import jitter
from tiered.replication.guard import UNANSWERED, _Unanswered
from tiered.replication.heartbeat import Heartbeat
from tiered.steps import Ask, Pause, Steps
from tiered.tiers.base import Leasing, Tier

if TYPE_CHECKING:
    from tiered.replication.singleflight import Load

logger = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.002, 0.05
"""Seconds between two looks of one who waits: doubling, with jitter."""

_Result = TypeVar("_Result")


class Attempt(Protocol):
    """How a tier is asked: `Guard.attempt`, and the like."""

    def __call__(self, op: str, call: Callable[[], _Result]) -> _Result | _Unanswered: ...


class Lender:
    """A tier that gives leases; its failures are `UNANSWERED`."""

    def __init__(self, name: str, leasing: Leasing, attempt: Attempt) -> None:
        self.name, self.expires = name, leasing.expires
        self._leasing, self._attempt = leasing, attempt

    def take(self, it: Lease) -> bool | _Unanswered:
        return self._attempt("take a lease", lambda: self._leasing.take(it.namespace, it.key, it.token, it.ttl))

    def extend(self, it: Lease) -> bool | _Unanswered:
        return self._attempt("extend a lease", lambda: self._leasing.extend(it.namespace, it.key, it.token, it.ttl))

    def release(self, it: Lease) -> None:
        self._attempt("release a lease", lambda: self._leasing.release(it.namespace, it.key, it.token))


class Lease:
    """The right to load one key: `granted` by a lender, or by none, and then it excludes nobody."""

    def __init__(
        self, space: Space, key: str, ttl: float, clock: Callable[[], float], load: Load | None = None
    ) -> None:
        self.namespace, self.key, self.ttl, self.token = space.name, key, ttl, os.urandom(16).hex()
        self.granted: Lender | None = None
        self.asked: list[Lender] = []
        """Who may have given it: a lender whose answer was lost may have, too."""
        self._clock, self._process = clock, os.getpid()
        self._since, self._lost = clock(), False
        self._load = load

    def kept(self) -> bool:
        """Whether nobody else can have been given this lease meanwhile, as far as can be known."""
        if self._process != os.getpid():
            return False
        if self.granted is None or not self.granted.expires:
            return True
        if not self._lost and self._clock() - self._since > self.ttl / 2:
            self.beat()
        return not self._lost

    def beat(self) -> None:
        """Extend it, while its load goes on. A lender that cannot answer does not say that it is lost."""
        if self._load is not None and self._load.over:
            return
        now = self._clock()
        answer = UNANSWERED if self.granted is None else self.granted.extend(self)
        if answer is True:
            self._since = now
        elif answer is False:
            self._lost = True


class Leases:
    """The leases of one chain. Thread-safe. `ttl` is seconds."""

    def __init__(self, chain: Chain, *, shared: bool, ttl: float, pause: Callable[[float], None] = time.sleep) -> None:
        self._chain, self._ttl, self._pause = chain, ttl, pause
        self._lenders = self._find_lenders() if shared else []
        self.heartbeat = Heartbeat(ttl / 3)

    def take(self, space: Space, key: str, load: Load | None = None) -> Lease | None:
        """The lease of `key`, or None while another has it. Where no tier can give one, it excludes nobody.

        From before it is asked for `load` has it, so that it is released with that (`release_of`), wherever a signal handler raised: else
        others would wait for a load that nobody does. Once `load` is over it is not extended any more.
        """
        lease = self._new(space, key, load)
        held = [] if load is None else load.leases
        held.append(lease)
        for lender in self._lenders:
            lease.asked.append(lender)
            answer = lender.take(lease)
            if answer is False:
                lease.asked.pop()
                self.release(lease)
                held.remove(lease)
                return None
            if answer is True:
                lease.granted = lender
                if lender.expires:
                    self.heartbeat.add(lease)
                return lease
        count = bool(self._lenders)
        space.stats.unleased += count
        return lease

    def wait(self, space: Space, key: str, until: float, load: Load | None = None) -> Steps[Lease]:
        """Wait until there is a value, its loader is gone, or the clock says `until`; the lease if it was to be had."""
        pause = FIRST_PAUSE
        while self._chain.clock.monotonic() < until:
            seconds = pause * (0.5 + jitter() / 2)
            yield Pause(partial(self._pause, seconds), seconds)
            pause = min(2 * pause, LONGEST_PAUSE)
            self._chain.check_open()
            if (yield Ask(partial(self._appeared, space, key))):
                return self._new(space, key, load)
            lease: Lease | None = yield Ask(partial(self.take, space, key, load), self.give_back)
            if lease is not None:
                return lease
        space.stats.unleased += 1
        return self._new(space, key, load)

    def give_back(self, lease: Lease | None) -> None:
        """`release` what `take` gave to somebody who is not there any more."""
        if lease is not None:
            self.release(lease)

    def release(self, lease: Lease) -> None:
        """Let others have it. In a child that was forked meanwhile, it is the parent's and stays."""
        self.heartbeat.remove(lease)
        if lease._process == os.getpid():
            for lender in lease.asked:
                lender.release(lease)

    def release_of(self, load: Load) -> None:
        """All that `load` has asked for. May be repeated."""
        for lease in load.leases:
            self.release(lease)

    def _new(self, space: Space, key: str, load: Load | None) -> Lease:
        return Lease(space, key, self._ttl, self._chain.clock.monotonic, load)

    def _appeared(self, space: Space, key: str) -> bool:
        """Whether the fastest tier that answers has a value."""
        for guard in self._chain.guards:
            frame = guard.get(space, key) if guard.breaker.closed else UNANSWERED
            if not isinstance(frame, _Unanswered):
                return self._alive(frame)
        return self._alive(self._chain.record.read(space.name, key)[1])

    def _alive(self, frame: object) -> bool:
        if not isinstance(frame, bytes) or is_tombstone(frame):
            return False
        return not 0 < expires_at_of(frame) <= self._chain.clock.now()

    def _find_lenders(self) -> list[Lender]:
        guarded = [(guard.tier, guard.attempt) for guard in self._chain.guards]
        tiers: list[tuple[Tier, Attempt]] = [*guarded, (self._chain.record, self._attempt)]
        found = [(tier, getattr(tier, "leases", None), attempt) for tier, attempt in tiers]
        return [Lender(tier.name, leases, attempt) for tier, leases, attempt in found if leases is not None]

    def _attempt(self, op: str, call: Callable[[], _Result]) -> _Result | _Unanswered:
        """What a guard does, for the store of record."""
        try:
            return call()
        except StoreError as error:
            self._chain.record_stats.failed(op, error.reason)
            logger.debug("could not %s: %s", op, error)
            return UNANSWERED
