"""A journal for a store of record that has none: writes are announced in a local directory before the record makes them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

from tiered.clock import SYSTEM_CLOCK, Clock
from tiered.errors import ConfigError, NotApplied, StoreError
from tiered.tiers.base import Commit, Journal, Page, Record, Tier, TierHealth, Write, generations_of
from tiered.tiers.intent_journal import IntentJournal

OPTIONAL = (
    "no_record",
    "hosts",
    "serve_unproven",
    "one_by_one",
    "leases",
    "backup",
    "namespaces",
    "count",
)
"""What a record may have besides."""


class JournaledRecord:
    """`record` with a journal in `directory`, which it makes with mode 0700 and which all processes of a host share.

    A process that is killed between any two steps of a write leaves what others need to know. Keys of such a write, and
    of one whose outcome nobody knows, are read from the record for `grace` seconds, after which it cannot be made any
    more; then caches are given what the record has. See `FileTier` for `sync` and `max_pending`. Closing closes
    `record`, too. Thread-safe.
    """

    def __init__(
        self,
        record: Record,
        directory: str | os.PathLike[str],
        *,
        sync: Literal["full", "normal"] = "full",
        max_pending: int = 100_000,
        grace: float = 60.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        if record.journal is not None:
            raise ConfigError(
                f"{record.name}: it has a journal of its own, in the transactions of its entries: leave out journal="
            )
        self._record, self.name, self.max_key_bytes = record, record.name, record.max_key_bytes
        options = {"sync": sync, "max_pending": max_pending, "grace": grace, "clock": clock}
        self._intents = IntentJournal(record, directory, **options)  # type: ignore[arg-type]  # as above
        self.journal: Journal | None = self._intents
        for name in OPTIONAL:
            if hasattr(record, name):
                setattr(self, name, getattr(record, name))

    # As a store of record

    def commit(self, namespace: str, writes: Sequence[Write], *, marks: Sequence[str] = (), now: int) -> Commit:
        if all(write.expect == 0 and write.draft.tombstone for write in writes):
            # These only say since when nothing is there: no answer changes.
            return self._record.commit(namespace, writes, now=now)
        intents = self._intents.begin(namespace, [write.key for write in writes])
        try:
            commit = self._record.commit(namespace, writes, now=now)
            self._intents.end(intents, namespace, writes, commit, marks)
        except NotApplied:
            self._intents.withdraw(intents)
            raise
        except BaseException:  # Ambiguous, or a signal's exception
            self._intents.doubt(intents)
            raise
        return commit

    def read(self, namespace: str, key: str) -> tuple[int, bytes | None]:
        return self._record.read(namespace, key)

    def read_many(self, namespace: str, keys: Sequence[str]) -> tuple[int, list[bytes | None]]:
        return self._record.read_many(namespace, keys)

    def scan(self, namespace: str, prefix: str, cursor: str | None, limit: int) -> Page:
        return self._record.scan(namespace, prefix, cursor, limit)

    def generation(self, namespace: str) -> int:
        return self._record.generation(namespace)

    def generation_many(self, namespaces: Sequence[str]) -> Sequence[int]:
        return generations_of(self._record, namespaces)

    def clear(self, namespace: str) -> int:
        generation = self._record.clear(namespace)
        self._intents.cleared(namespace, generation)
        return generation

    def bump(self) -> None:
        self._record.bump()

    # Operating

    def probe(self) -> str:
        return self._record.probe()

    def health(self) -> TierHealth:
        health = self._record.health()
        facts = {**health.facts, "journal": str(self._intents.directory)}
        try:
            self._intents.believed(self.name)  # any question shows whether it can be read
        except StoreError as error:
            return TierHealth(False, f"{health.detail}; the journal: {error}".removeprefix("; "), facts)
        return TierHealth(health.ok, health.detail, facts)

    def close(self) -> None:
        self._intents.close()
        self._record.close()


def with_journal(
    record: Record, directory: str | os.PathLike[str], caches: Sequence[Tier], clock: Clock
) -> JournaledRecord:
    """`record` with a journal for `caches`; `ConfigError` where that makes no sense."""
    if not caches:
        raise ConfigError(
            "journal= is for cache tiers between memory and the store of record, and there are none: leave it out"
        )
    return JournaledRecord(record, directory, clock=clock)
