"""Replay: giving a cache tier the present entries of the keys that it has not confirmed or is owed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from time import monotonic

from tiered.chain import Chain
from tiered.entry import MAX_VERSION, tombstone
from tiered.errors import Reason, StoreUnavailable
from tiered.replication.guard import Guard
from tiered.replication.owed import Debt
from tiered.tiers.base import Absence, Journal

BATCH = 500


class Replay:
    """Replays to the tiers of one chain. Harmless whenever and by whomever it is done: put-if-newer decides."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def run(self, guard: Guard) -> int:
        """Pay what `guard` is owed; how many entries were put. Raises `StoreError` of the tier or of the record.

        Marks are replayed by one process of the directory at a time. A debt whose key has no mark is paid: each write is
        marked until the tier has accepted it, or something newer.
        """
        debts, journal = guard.owed.debts(), self._chain.record.journal
        if journal is None:
            return self._without_journal(guard, debts)
        with journal.replaying(guard.name) as mine:
            replayed = self._marks(guard, journal) if mine else 0
            journal.flush()
        for start in range(0, len(debts), BATCH):
            batch = debts[start : start + BATCH]
            pending = journal.still_pending(guard.name, [(it.namespace, it.key) for it in batch])
            for debt in batch:
                if (debt.namespace, debt.key) not in pending:
                    guard.owed.settle(debt)
        return replayed

    def _marks(self, guard: Guard, journal: Journal) -> int:
        """Put and confirm every mark, in pages."""
        replayed, above = 0, 0
        while marks := journal.pending(guard.name, limit=BATCH, above=above):
            above = marks[-1].version
            replayed += self._put(guard, ((it.namespace, it.key) for it in marks))
            journal.confirm(marks)
            if len(marks) < BATCH:
                break
        return replayed

    def _without_journal(self, guard: Guard, debts: Sequence[Debt]) -> int:
        replayed = 0
        for start in range(0, len(debts), BATCH):
            batch = debts[start : start + BATCH]
            replayed += self._put(guard, ((it.namespace, it.key) for it in batch))
            for debt in batch:
                guard.owed.settle(debt)
        return replayed

    def _put(self, guard: Guard, keys: Iterable[tuple[str, str]]) -> int:
        """Put the record's present entries, expired ones and absences included, and tell everybody."""
        wanted: dict[str, list[str]] = defaultdict(list)
        for namespace, key in keys:
            wanted[namespace].append(key)
        for namespace, names in wanted.items():
            since = monotonic()
            generation, items = self._entries(guard, namespace, names)
            if items:
                guard.tier.put_many(f"{namespace}:{generation}", items, since=since, tell=True)
                guard.stats.replayed += len(items)
        return sum(map(len, wanted.values()))

    def _entries(self, guard: Guard, namespace: str, keys: list[str]) -> tuple[int, list[tuple[str, bytes]]]:
        record = self._chain.record
        held: Sequence[bytes | Absence | None]
        if record.journal is not None:
            generation, held = record.journal.absences(namespace, keys)
        else:
            generation, held = record.read_many(namespace, keys)
        items = []
        for key, it in zip(keys, held, strict=True):
            if isinstance(it, bytes):
                items.append((key, it))
            else:
                items.append((key, self._tombstone(guard, namespace, key, it)))
        return generation, items

    def _tombstone(self, guard: Guard, namespace: str, key: str, absence: Absence | None) -> bytes:
        """What says in a cache tier that the record has nothing (R16)."""
        version = absence.version if absence is not None else 0
        if not 0 < version < MAX_VERSION:
            # Without a version nothing can be put there that wins over an old value and loses against a new one.
            guard.owed.lost = True
            message = f"{self._chain.record.name} cannot say since when a key is absent: a new generation is needed"
            raise StoreUnavailable(message, tier=guard.name, reason=Reason.RESTARTED)
        return tombstone(self._chain.space(namespace).seed, key, self._chain.clock.now()).seal(version)
