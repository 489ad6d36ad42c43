"""A process of the model: a backend on real tiers without threads of its own, and its line to the server."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from tests.clocks import HandClock
from tiered import FileTier, MemoryTier, RedisTier, TieredBackend
from tiered.errors import Ambiguous, NotApplied, Reason, StoreError, StoreUnavailable

NAMESPACES = ("default", "other")
STALENESS = 1.5
PATIENT = 5.0
"""Seconds that a server may take, so that a busy machine is no fault that the model does not know of."""


class Line(RedisTier):
    """A connection to the server that can be cut, or made so slow that puts arrive long after their timeout."""

    cut = slow = False

    def __init__(self, url: str, clock: HandClock) -> None:
        super().__init__(url, timeout=PATIENT, connect_timeout=PATIENT, clock=clock)
        self.late: list[tuple[str, list[tuple[str, bytes]], float | None]] = []

    def get(self, scope: str, key: str) -> bytes | None:
        self._pass(StoreUnavailable)
        return super().get(scope, key)

    def get_many(self, scope: str, keys: Sequence[str]) -> list[bytes | None]:
        self._pass(StoreUnavailable)
        return super().get_many(scope, keys)

    def put_many(
        self, scope: str, items: Sequence[tuple[str, bytes]], *, since: float | None = None, tell: bool = False
    ) -> list[bool]:
        self._pass(NotApplied)
        if self.slow:
            self.late.append((scope, list(items), since))
            raise Ambiguous("no answer in time", tier=self.name, reason=Reason.TIMEOUT)
        return super().put_many(scope, items, since=since, tell=tell)

    def probe(self) -> str:
        self._pass(StoreUnavailable)
        return super().probe()

    def claim(self, namespace: str, identity: str) -> str:
        self._pass(StoreUnavailable)
        return super().claim(namespace, identity)

    def arrive(self) -> None:
        """What was on its way reaches the server; nobody waits for the answer any more."""
        late, self.late = self.late, []
        for scope, items, since in late:
            with suppress(StoreError):
                super().put_many(scope, items, since=since)

    def _pass(self, error: type[StoreError]) -> None:
        if self.cut:
            raise error("cut off", tier=self.name, reason=Reason.CONNECTION)


class Process:
    """A backend and its line, with no threads of its own."""

    def __init__(self, name: str, directory: str, url: str, clock: HandClock) -> None:
        self.name, self.line = name, Line(url, clock)
        file = FileTier(directory, clock=clock, sync="normal")
        tiers = [MemoryTier(max_entries=2, clock=clock), self.line, file]
        self.store = TieredBackend(tiers, clock=clock, staleness=STALENESS)
        self.keeper, self.file = self.store._core.service.keeper, file
        self.spaces = {name: self.store.namespace(name) for name in NAMESPACES}
        for space in self.spaces.values():
            space._core.ready()
        self.keeper.stop()
        self.store._core.service.coherence.stop()

    def __repr__(self) -> str:
        return self.name
