"""Stores that share a cache and a directory and do nothing by themselves: their clock and their keepers go by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from tests.clocks import HandClock
from tiered import FileTier, MemoryTier, TieredBackend
from tiered.errors import Ambiguous, NotApplied, Reason
from tiered.replication.guard import Guard
from tiered.testing.chaos import Faults, FaultyTier
from tiered.tiers.base import Record, Tier
from tiered.tiers.journaled import JournaledRecord

Hook = Callable[[], object]


class Server:
    """A cache server: what it holds, which run it is, whose the namespaces are, and where records were."""

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        self.memory = MemoryTier(name="cache", clock=clock)
        self.run = "run 1"
        self.claims: dict[str, str] = {}
        self.notes: dict[str, str] = {}


class Cache(FaultyTier):
    """One process's way to a server. A hook runs once, in the next call of its kind."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.memory)
        self.server = server
        self.gets: list[str] = []
        self.puts: list[str] = []
        self.after_get: Hook | None = None
        self.before_put: Hook | None = None
        self.before_probe: Hook | None = None
        self.claimed = self.notes = self.refused = 0
        self.most = 2**40
        """Bytes: what is more runs into a timeout, the rest of its batch with it."""

    def cut_off(self) -> None:
        self.faults = Faults(before=1)

    def reconnect(self) -> None:
        self.faults = Faults()

    def get_many(self, scope: str, keys: Sequence[str]) -> list[bytes | None]:
        self.gets += keys
        frames = super().get_many(scope, keys)
        hook, self.after_get = self.after_get, None
        if hook is not None:
            hook()
        return frames

    def put_many(self, scope: str, items: Sequence[tuple[str, bytes]], **options: Any) -> list[bool]:
        hook, self.before_put = self.before_put, None
        if hook is not None:
            hook()
        if sum(len(frame) for _, frame in items) > self.most:
            raise Ambiguous("no answer in time", tier=self.name, reason=Reason.TIMEOUT)
        accepted = super().put_many(scope, items, **options)
        self.puts += [key for key, _ in items if key]  # without one: whether it takes anything
        return accepted

    def probe(self) -> str:
        hook, self.before_probe = self.before_probe, None
        if hook is not None:
            hook()
        super().probe()
        return self.server.run

    def close(self) -> None:
        """The server goes on."""

    def claim(self, namespace: str, identity: str) -> str:
        self.claimed += 1
        return self.server.claims.setdefault(namespace, identity)

    def claim_key(self, namespace: str) -> str:
        return f"claim of {namespace}"

    def note(self, line: str, place: str) -> str | None:
        super().probe()  # fails when all else does
        self.notes += 1
        before = self.server.notes.get(line)
        self.server.notes[line] = place
        return before

    def refuse(self, line: str, place: str) -> None:
        """In the place of `note`."""
        self.refused += 1
        raise NotApplied("full", tier=self.name, reason=Reason.FULL)

    def noted(self, line: str) -> str | None:
        super().probe()
        return self.server.notes.get(line)


class Process:
    """One process of the many: a store of its own over the directory and the server that all share."""

    def __init__(
        self,
        directory: Path,
        server: Server,
        *,
        cached: bool = True,
        entries: int = 100,
        record: Record | None = None,
        read_order: Literal["declared", "measured"] = "declared",
        feed: Literal["write", "journal"] = "write",
        **options: Any,
    ) -> None:
        self.clock, self.cache, clock = server.clock, Cache(server), server.clock
        # Without a journal of its own it gets one in the directory.
        self.record: Any = (
            FileTier(directory, sync="normal", clock=clock, **options)
            if record is None
            else JournaledRecord(record, directory, sync="normal", clock=clock, **options)
        )
        memory = MemoryTier(max_entries=entries, clock=clock)
        tiers: list[Tier] = [memory, self.cache, self.record] if cached else [memory, self.record]
        self.store = TieredBackend(tiers, clock=clock, read_order=read_order, feed=feed)
        self.store._core.service.keeper._stop.set()  # its thread ends as soon as it starts; `look` is called by hand

    @property
    def guard(self) -> Guard:
        (guard,) = self.store._core.chain.guards
        return guard

    def look(self, times: int = 1) -> None:
        for _ in range(times):
            self.store._core.service.keeper.look()

    def readmit(self) -> None:
        """Let so much time pass that a probe is due, and look until what was owed before is paid."""
        self.clock.advance(60)
        self.look(3)

    def owes(self, key: str, namespace: str = "default") -> bool:
        return (namespace, key) in self.guard.owed

    def remembers(self, key: str) -> bool:
        return key in self.store._core.space.part.slots

    def held(self, key: str) -> bytes | None:
        """The frame on the server, in the generation that this process believes in."""
        return self.cache.server.memory.get(self.store._core.space.scope, key)
