"""The read path below memory: one flight per key, the cache tiers, the store of record, promotion upwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tiered.chain import Chain, Space
from tiered.entry import Entry, open_frame
from tiered.errors import Corrupt, Reason, StoreUnavailable
from tiered.replication.guard import UNANSWERED, Answer, Guard
from tiered.replication.inflight import Flight

ATTEMPTS = 3


class Found(NamedTuple):
    """What a read below memory found. `slot` is None for "known to be absent"."""

    slot: tuple[Any, ...] | None
    tier: str
    version: int
    size: int = 0


class _Overtaken(Exception):
    """A newer version was committed or invalidated while this read was under way."""


class Reader:
    """Reads of one chain. Thread-safe."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def read(self, space: Space, key: str) -> Found:
        """What the fastest tier below memory says of `key`; joins a read of it that is already under way."""
        for attempt in range(ATTEMPTS):
            started = self._chain.clock.monotonic()
            with self._chain.memory.lock:
                flight = space.flights.join(key, started, min(self._chain.trust, self._chain.deadline))
                if flight is None:
                    entry = space.flights.begin(key)
                    mine = entry.leader = Flight(started)
            if flight is not None:
                space.stats.coalesced += 1
                found = self._wait(flight)
            else:
                found = self._lead(space, key, entry, mine, caches=not attempt)
            if found is not None:
                return found
        return self.read_many(space, (key,), caches=False)[key]

    def read_many(self, space: Space, keys: Sequence[str], *, caches: bool = True) -> dict[str, Found]:
        """`read` of each key, in one round trip per tier. Batches are neither joined nor wait for others."""
        chain, started = self._chain, self._chain.clock.monotonic()
        with chain.memory.lock:
            entries = [(key, space.flights.begin(key)) for key in keys]
            epoch = space.flights.epoch
        overtaken: list[str] = []
        try:
            found = self._fetch(space, keys, started, caches)
        except BaseException:
            with chain.memory.lock:
                for key, entry in entries:
                    space.flights.end(key, entry)
            raise
        with chain.memory.lock:
            for key, entry in entries:
                if found[key].version < entry.floor:
                    overtaken.append(key)
                else:
                    self._admit(space, key, found[key], epoch)
                space.flights.end(key, entry)
        if overtaken and caches:
            found.update(self.read_many(space, overtaken, caches=False))
        return found

    def _lead(self, space: Space, key: str, entry: Any, flight: Flight, *, caches: bool) -> Found | None:
        """Do the read that others may join; None if it was overtaken and must be repeated."""
        epoch = space.flights.epoch
        try:
            found = self._fetch(space, (key,), flight.started, caches)[key]
        except BaseException as error:
            flight.error = error
            with self._chain.memory.lock:
                space.flights.end(key, entry, flight)
            flight.done.release()
            raise
        with self._chain.memory.lock:
            overtaken = found.version < entry.floor
            if not overtaken:
                entry.floor = max(entry.floor, found.version)
                self._admit(space, key, found, epoch)
            space.flights.end(key, entry, flight)
        flight.answer = None if overtaken else found
        flight.done.release()
        return flight.answer  # type: ignore[no-any-return]  # Flight carries any answer

    def _admit(self, space: Space, key: str, found: Found, epoch: int) -> None:
        """Populate memory; with the lock held, so that no mark comes between the check and the deed."""
        if found.slot is not None and epoch == space.flights.epoch:
            self._chain.memory.admit(space.part, key, found.slot, found.size)

    def _wait(self, flight: Flight) -> Found | None:
        if not flight.done.acquire(timeout=2 * self._chain.deadline):
            return None
        flight.done.release()
        if isinstance(flight.error, Exception):
            raise flight.error
        return flight.answer  # type: ignore[no-any-return]  # Flight carries any answer

    def _fetch(self, space: Space, keys: Sequence[str], started: float, caches: bool) -> dict[str, Found]:
        """Ask tier after tier for what is still unknown, then promote."""
        chain = self._chain
        if not chain.guards and len(keys) == 1:
            generation, frame = chain.record.read(space.name, keys[0])
            if generation > space.generation:
                chain.learn(space, generation)
            return {keys[0]: self._recorded(space, keys[0], frame, started)}
        found: dict[str, Found] = {}
        unanswered: list[tuple[Guard, list[str]]] = []
        missed: list[tuple[Guard, list[str]]] = []
        for guard in chain.guards:
            left = [key for key in keys if key not in found]
            if not left:
                break
            if not space.generation:
                chain.learn(space, chain.record.generation(space.name))
            late = chain.clock.monotonic() - started > chain.deadline
            answers: list[Answer] = [UNANSWERED] * len(left)
            if caches and not late:
                answers = self._ask(guard, space, left)
            unanswered.append((guard, [key for key, it in zip(left, answers, strict=True) if it is UNANSWERED]))
            missed.append((guard, []))
            frames = self._open(space, guard, left, answers, started, found, missed[-1][1])
            self._promote(space, space.generation, missed[:-1], frames)
        left = [key for key in keys if key not in found]
        if left:
            self._from_record(space, left, started, found, missed, unanswered)
        return found

    def _ask(self, guard: Guard, space: Space, keys: list[str]) -> list[Answer]:
        if len(keys) == 1:
            return [guard.get(space.name, space.scope, keys[0])]
        return guard.get_many(space.name, space.scope, keys)

    def _open(
        self,
        space: Space,
        guard: Guard,
        keys: list[str],
        answers: list[Answer],
        started: float,
        found: dict[str, Found],
        missed: list[str],
    ) -> dict[str, bytes]:
        """Turn a cache tier's answers into findings; damaged bytes are a counted miss. Returns the good frames."""
        good: dict[str, bytes] = {}
        for key, frame in zip(keys, answers, strict=True):
            if frame is None:
                guard.stats.misses += 1
                missed.append(key)
            elif isinstance(frame, bytes):
                try:
                    found[key] = self._found(space, key, open_frame(frame, space.seed, key), guard.name, started)
                except Corrupt:
                    guard.stats.corrupt += 1
                    guard.owe(space.name, key, 0)
                else:
                    guard.stats.hits += 1
                    good[key] = frame
        return good

    def _from_record(
        self,
        space: Space,
        keys: list[str],
        started: float,
        found: dict[str, Found],
        missed: list[tuple[Guard, list[str]]],
        unanswered: list[tuple[Guard, list[str]]],
    ) -> None:
        record = self._chain.record
        if len(keys) == 1:
            generation, frame = record.read(space.name, keys[0])
            frames = [frame]
        else:
            generation, frames = record.read_many(space.name, keys)
        self._chain.learn(space, generation)
        good: dict[str, bytes] = {}
        for key, frame in zip(keys, frames, strict=True):
            found[key] = it = self._recorded(space, key, frame, started)
            if frame is not None and it.slot is not None:
                good[key] = frame
        for guard, skipped in unanswered:
            for key in skipped:
                if key in keys:
                    guard.owe(space.name, key, found[key].version or 1)
        self._promote(space, generation, missed, good)

    def _recorded(self, space: Space, key: str, frame: bytes | None, started: float) -> Found:
        """What the record's answer means; damage there is an error, never a miss."""
        name, stats = self._chain.record.name, self._chain.record_stats
        if frame is None:
            stats.misses += 1
            return Found(None, name, 0)
        try:
            found = self._found(space, key, open_frame(frame, space.seed, key), name, started)
            stats.hits += found.slot is not None
            stats.misses += found.slot is None
            return found
        except Corrupt as error:
            stats.corrupt += 1
            message = f"the stored entry is damaged ({error}); set or delete the key, or restore a backup"
            raise StoreUnavailable(message, tier=name, reason=Reason.SERIALIZATION) from error

    def _found(self, space: Space, key: str, entry: Entry, tier: str, started: float) -> Found:
        if entry.absent(self._chain.clock.now()):
            return Found(None, tier, entry.version)
        slot, size = self._chain.slot(key, entry, started)
        return Found(slot, tier, entry.version, size)

    def _promote(
        self, space: Space, generation: int, missed: list[tuple[Guard, list[str]]], frames: dict[str, bytes]
    ) -> None:
        """Give `frames` to the tiers that missed them; put-if-newer makes a late promotion harmless."""
        scope = f"{space.name}:{generation}"
        for guard, keys in missed:
            items = [(key, frames[key]) for key in keys if key in frames]
            if items:
                guard.put(space.name, scope, items)
