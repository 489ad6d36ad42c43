"""The read path below memory: one flight per key, then the tiers (fetching.py), then what memory may keep of it."""

from __future__ import annotations

from _thread import allocate_lock
from collections.abc import Mapping, Sequence

from tiered.chain import Chain, Space
from tiered.entry import MAX_VERSION
from tiered.errors import StoreError, TieredError
from tiered.fetching import Fetcher
from tiered.found import Found, Said
from tiered.replication.inflight import Flight, InFlightTable
from tiered.tiers.base import Later


class Reader:
    """Reads of one chain. Thread-safe."""

    def __init__(self, chain: Chain) -> None:
        self._chain, self._memory, self._promotions = chain, chain.memory, chain.memory_stats
        self._fetcher = Fetcher(chain)
        self._fetch_one, self._record = self._fetcher.fetch_one, chain.record.name
        self._joinable = min(chain.trust.staleness, chain.deadline)
        self._now = chain.clock.monotonic

    def read(self, space: Space, key: str) -> Found:
        """What the fastest tier below memory says of `key`; joins a read of it that is already under way."""
        flights, started = space.flights, self._now()
        events, mine = flights.events, Flight(started)
        try:
            flight = flights.leaders.setdefault(key, mine)  # in here: an interrupt just after it must land it, too
            if flight is not mine:
                return self._follow(space, key, flight, started) or self.read_many(space, (key,))[key]
            found = self._fetch_one(space, key, started, events)
            with self._memory.lock:
                # From here on nobody joins any more.
                good = self._finish(space, key, found, events, started, flights.events == events)
                if mine.done is not None:
                    mine.answer = found if good else None
                    done, mine.done = mine.done, None
                    done.release()
        except BaseException as error:
            mine.error = error
            with self._memory.lock:
                self._land(flights, key, mine)
            raise
        return found if good else self.read_many(space, (key,), caches=False)[key]

    async def read_awaited(self, space: Space, key: str, later: Later) -> Found | Said | None:
        """`read` of what the first cache tier has, for a task and on no thread; neither joined nor waits for others.

        `Said`: it has no frame, and need not be asked again. None: `read` is to ask it, if anybody.
        """
        flights, started = space.flights, self._now()
        events, (asked, until) = flights.events, self._fetcher.first(started)
        if not until:
            return None
        guard = asked[0]
        belief = guard.belief  # before the command is built (R15)
        reply = guard.ask(space, key, later)
        if reply is None:
            return None
        try:
            frame = await reply
        except Exception as error:
            unanswered = guard.not_got(error, started)
            return None if unanswered is None else Said(guard, unanswered)
        found = self._fetcher.made_of(space, key, asked, guard.got(frame, started, belief), started, until, events)
        if not isinstance(found, Found):
            return found
        with self._memory.lock:
            good = self._finish(space, key, found, events, started, flights.events == events)
        return found if good else None

    def read_many(self, space: Space, keys: Sequence[str], *, caches: bool = True) -> dict[str, Found]:
        """`read` of each key, in one round trip per tier. Batches are neither joined nor wait for others."""
        events, started = space.flights.events, self._now()
        found = self._fetcher.fetch(space, keys, started, events, caches=caches)
        with self._memory.lock:
            quiet, finish = events == space.flights.events, self._finish
            overtaken = list(key for key in keys if not finish(space, key, found[key], events, started, quiet))
        if overtaken:
            found.update(self.read_many(space, overtaken, caches=False))
        return found

    def read_together(
        self, space: Space, keys: Sequence[str], said: Mapping[str, Said]
    ) -> dict[str, Found | Exception]:
        """`read` of each key, for callers who know nothing of each other: what fails one of them is no other's error.

        One round trip per tier, but for what one has `said` already. Reads that are under way are joined, and these may be.
        """
        flights, events, started = space.flights, space.flights.events, self._now()
        mine, others = dict[str, Flight](), dict[str, Flight]()
        for key in keys:
            flight = Flight(started)
            leader = flights.leaders.setdefault(key, flight)
            (mine if leader is flight else others)[key] = leader
        results = self._lead_together(space, mine, events, started, said) if mine else {}
        for key, leader in others.items():
            try:
                results[key] = self._follow(space, key, leader, started) or self.read_many(space, (key,))[key]
            except Exception as error:  # that caller's own
                results[key] = error
        return results

    def _lead_together(
        self, space: Space, mine: dict[str, Flight], events: int, started: float, said: Mapping[str, Said]
    ) -> dict[str, Found | Exception]:
        failed, overtaken = dict[str, StoreError](), list[str]()
        lock = self._memory.lock
        try:
            found = self._fetcher.fetch(space, list(mine), started, events, failed=failed, said=said)
        except BaseException as error:
            with lock:
                for key, flight in mine.items():
                    flight.error = error
                    self._land(space.flights, key, flight)
            raise
        with lock:
            quiet = events == space.flights.events
            for key, flight in mine.items():
                if key in failed:
                    flight.error = failed[key]
                elif self._finish(space, key, found[key], events, started, quiet):
                    flight.answer = found[key]
                else:
                    overtaken.append(key)
                self._land(space.flights, key, flight)
        results: dict[str, Found | Exception] = {**found, **failed}
        for key in overtaken:
            try:
                results[key] = self.read_many(space, (key,), caches=False)[key]
            except StoreError as error:
                results[key] = error
        return results

    def _land(self, flights: InFlightTable, key: str, flight: Flight) -> None:
        """Nobody joins any more, and whoever has joined wakes up; with the lock."""
        if flights.leaders.get(key) is flight:
            del flights.leaders[key]
        if flight.done is not None:
            flight.done.release()

    def _follow(self, space: Space, key: str, flight: Flight, started: float) -> Found | None:
        """The leader's answer; None if it was overtaken or takes too long, and this call must read for itself."""
        with self._memory.lock:
            if space.flights.leaders.get(key) is not flight or not self._is_young(flight, started):
                return None  # it has landed since, or its answer may be too old for us
            if flight.done is None:
                flight.done = allocate_lock()
                flight.done.acquire()
            done = flight.done  # the leader puts it away when it releases it
        space.stats.coalesced += 1
        if not done.acquire(timeout=2 * self._chain.deadline):
            return None
        done.release()
        if isinstance(flight.error, TieredError):  # not what a signal handler raised, which is that caller's
            raise flight.error
        answer: Found | None = flight.answer
        return answer

    def _is_young(self, flight: Flight, started: float) -> bool:
        """Whether what `flight` finds is new enough for a read that began at `started` (R11).

        Its leader may have believed a cache tier that the later read must not believe any more.
        """
        if started - flight.started > self._joinable:
            return False
        trust = self._chain.trust
        return not self._chain.guards or not trust.caches(flight.started) or started < trust.cache_until(flight.started)

    def _finish(self, space: Space, key: str, found: Found, events: int, started: float, quiet: bool) -> bool:
        """Let memory have what was found, in one step under the lock (R2, R4). `quiet`: there were no events since.

        False if a cache tier gave it and something newer was reached meanwhile: then it must not be returned. What the
        record gave was true after the read began, so it may be, but memory keeps only what nothing has overtaken.
        """
        flights, (slot, tier, version) = space.flights, found
        overtaken = not quiet and version < flights.floor(key, events)
        flights.reach(key, version or MAX_VERSION)  # an absence without a version: nobody knows what it overtakes (R16)
        if overtaken:
            self._memory.drop_older(space.part, key, version)
            return tier == self._record
        if slot is not None:
            if self._memory.admit(space.part, key, slot):
                self._promotions.promoted += 1
            else:
                self._promotions.outrun += 1
        else:
            held = space.part.slots.get(key)
            # An absence without a version is newer than what was there before the read began.
            if held is not None and (held[3] <= version or (not version and held[5] <= started)):
                self._memory.drop(space.part, key)
        return True
