"""Stores of record that fail on a seeded plan, with their journals."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager

from tiered.errors import Ambiguous, NotApplied, StoreUnavailable
from tiered.testing.chaos.faulty import Faults, Faulty
from tiered.tiers.base import Absence, Commit, Journal, Mark, Page, Record, Write


class FaultyRecord(Faulty):
    """The same around a store of record; it and its journal fail before and after, and are never late or old."""

    def __init__(
        self, inner: Record, faults: Faults | None = None, *, seed: int = 0, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        super().__init__(inner, faults, seed, sleep)
        self._inner = inner
        self.max_key_bytes = inner.max_key_bytes

    @property
    def journal(self) -> Journal | None:
        """The inner record's, failing as this does."""
        return None if self._inner.journal is None else FaultyJournal(self, self._inner.journal)

    def read(self, namespace: str, key: str) -> tuple[int, bytes | None]:
        self._enter(StoreUnavailable)
        return self._inner.read(namespace, key)

    def read_many(self, namespace: str, keys: Sequence[str]) -> tuple[int, list[bytes | None]]:
        self._enter(StoreUnavailable)
        return self._inner.read_many(namespace, keys)

    def commit(self, namespace: str, writes: Sequence[Write], *, marks: Sequence[str] = (), now: int) -> Commit:
        self._enter(NotApplied)
        commit = self._inner.commit(namespace, writes, marks=marks, now=now)
        self._leave(Ambiguous)
        return commit

    def scan(self, namespace: str, prefix: str, cursor: str | None, limit: int) -> Page:
        self._enter(StoreUnavailable)
        return self._inner.scan(namespace, prefix, cursor, limit)

    def generation(self, namespace: str) -> int:
        self._enter(StoreUnavailable)
        return self._inner.generation(namespace)

    def clear(self, namespace: str) -> int:
        self._enter(NotApplied)
        generation = self._inner.clear(namespace)
        self._leave(Ambiguous)
        return generation

    def bump(self) -> None:
        self._enter(NotApplied)
        self._inner.bump()
        self._leave(Ambiguous)


class FaultyJournal:
    """The journal of a `FaultyRecord`: it fails before and after, by the record's faults."""

    def __init__(self, record: FaultyRecord, inner: Journal) -> None:
        self._inner, self._enter, self._leave = inner, record._enter, record._leave

    @property
    def identity(self) -> str:
        return self._inner.identity

    def intents(self) -> Collection[tuple[str, str]]:
        self._enter(StoreUnavailable)
        return self._inner.intents()

    def pending(self, tier: str, *, limit: int, above: int = 0) -> list[Mark]:
        self._enter(StoreUnavailable)
        return self._inner.pending(tier, limit=limit, above=above)

    def still_pending(self, tier: str, keys: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        self._enter(StoreUnavailable)
        return self._inner.still_pending(tier, keys)

    def confirm(self, marks: Sequence[Mark]) -> None:
        self._inner.confirm(marks)

    def flush(self) -> None:
        self._enter(NotApplied)
        self._inner.flush()
        self._leave(Ambiguous)

    def absences(self, namespace: str, keys: Sequence[str]) -> tuple[int, list[bytes | Absence]]:
        self._enter(StoreUnavailable)
        return self._inner.absences(namespace, keys)

    def adopt(self, tier: str, identity: str) -> bool:
        self._enter(NotApplied)
        changed = self._inner.adopt(tier, identity)
        self._leave(Ambiguous)
        return changed

    def adopted(self, tier: str) -> str | None:
        self._enter(StoreUnavailable)
        return self._inner.adopted(tier)

    def replaying(self, tier: str) -> AbstractContextManager[bool]:
        return self._inner.replaying(tier)
