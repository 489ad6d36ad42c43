"""Replay: giving a cache tier the present entries of the keys that it has not confirmed or is owed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from time import monotonic

from tiered.chain import Chain
from tiered.entry import Draft
from tiered.errors import Reason, StoreError, StoreUnavailable
from tiered.replication.guard import Guard
from tiered.replication.owed import Debt
from tiered.tiers.base import Absence, Hosts, Journal, Notice, Write

BATCH = 500
ATTEMPTS = 5
"""At giving absences a version, while others write these keys."""
PATIENCE = 10.0
"""Seconds for which others hold the right to replay until one replays without: a holder that was stopped (SIGSTOP, a
frozen container) keeps it, and no mark would ever be replayed."""


class Replay:
    """Replays to the tiers of one chain. Harmless whenever and by whomever it is done: put-if-newer decides."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._hosts: Hosts | None = getattr(chain.record, "hosts", None)
        self._refused: dict[str, float] = {}
        """Per tier, since when others hold the right to replay."""

    def run(self, guard: Guard) -> int:
        """Pay what `guard` is owed; how many entries were put. Raises `StoreError` of the tier or of the record.

        Marks are replayed by one process of the directory at a time, unless that takes too long. A debt whose key has no
        mark is paid: each write is marked until the tier has accepted it, or something newer.
        """
        debts, journal = guard.owed.debts(), self._chain.record.journal
        try:
            return self._without_journal(guard, debts) if journal is None else self._pay(guard, debts, journal)
        except StoreError:
            count = len(debts)
            guard.stats.replays_failed += count
            raise

    def _pay(self, guard: Guard, debts: Sequence[Debt], journal: Journal) -> int:
        with journal.replaying(guard.name) as mine:
            replayed = self._marks(guard, journal) if mine or self._overdue(guard.name) else 0
            if mine:
                self._refused.pop(guard.name, None)
            journal.flush()
        replayed += self._of_other_hosts(guard)
        for start in range(0, len(debts), BATCH):
            batch = debts[start : start + BATCH]
            pending = journal.still_pending(guard.name, [(it.namespace, it.key) for it in batch])
            # Marks may be gone because the tier was abandoned: that was a new generation, which must be known first.
            for namespace in {debt.namespace for debt in batch}:
                self._chain.learn(self._chain.space(namespace), self._chain.record.generation(namespace))
            for debt in batch:
                if (debt.namespace, debt.key) not in pending:
                    guard.owed.settle(debt)
        return replayed

    def _overdue(self, tier: str) -> bool:
        now = self._chain.clock.monotonic()
        if now - self._refused.setdefault(tier, now) < PATIENCE:
            return False
        self._refused[tier] = now
        return True

    def _marks(self, guard: Guard, journal: Journal) -> int:
        """Put and confirm every mark, in pages."""
        replayed, above = 0, 0
        while marks := journal.pending(guard.name, limit=BATCH, above=above):
            above = marks[-1].at
            replayed += self._put(guard, ((it.namespace, it.key) for it in marks))
            journal.confirm(marks)
            if len(marks) < BATCH:
                break
        return replayed

    def told(self, guard: Guard) -> list[Notice]:
        """What a process of some host could not put, but this one perhaps can."""
        return [] if self._hosts is None or self._chain.record.journal is None else self._hosts.notices(guard.name)

    def _of_other_hosts(self, guard: Guard) -> int:
        """The notices are seen before the record is read, so they say nothing newer than what is put."""
        notices = self.told(guard)
        if self._hosts is None or not notices:
            return 0
        replayed = self._put(guard, (it[:2] for it in notices))
        self._hosts.settle(guard.name, notices)
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
                results = guard.tier.put_many(f"{namespace}:{generation}", items, since=since, tell=True)
                guard.stats.count_replay(items, sum(results))
        return sum(map(len, wanted.values()))

    def _entries(self, guard: Guard, namespace: str, keys: list[str]) -> tuple[int, list[tuple[str, bytes]]]:
        """The record's generation and what it has, with a tombstone that says since when for what it has not (R16)."""
        for _ in range(ATTEMPTS):
            generation, held = self._held(namespace, keys)
            items = [(key, it) for key, it in zip(keys, held, strict=True) if isinstance(it, bytes)]
            absent = {key: it for key, it in zip(keys, held, strict=True) if isinstance(it, Absence)}
            items += [(key, self._grave(namespace, key).seal(it.version)) for key, it in absent.items() if it.version]
            graves = self._bury(namespace, generation, [key for key, it in absent.items() if not it.version])
            if graves is not None:
                return generation, items + graves
        # Without a version nothing can be put there that wins over an old value and loses against a new one.
        guard.owed.lost = True
        message = f"{self._chain.record.name} cannot say since when a key is absent: a new generation is needed"
        raise StoreUnavailable(message, tier=guard.name, reason=Reason.RESTARTED)

    def _held(self, namespace: str, keys: list[str]) -> tuple[int, list[bytes | Absence]]:
        record = self._chain.record
        if record.journal is not None:
            return record.journal.absences(namespace, keys)
        generation, frames = record.read_many(namespace, keys)
        return generation, [Absence(0) if frame is None else frame for frame in frames]

    def _bury(self, namespace: str, generation: int, keys: list[str]) -> list[tuple[str, bytes]] | None:
        """Let the record give an absence its version: a tombstone on the condition that there is still nothing.

        None if there is something by now, or another generation.
        """
        if not keys:
            return []
        writes = [Write(key, self._grave(namespace, key), expect=0) for key in keys]
        commit = self._chain.record.commit(namespace, writes, now=self._chain.clock.now())
        if commit.generation != generation or not all(it.version for it in commit.written):
            return None
        return [(key, it.frame) for key, it in zip(keys, commit.written, strict=True)]

    def _grave(self, namespace: str, key: str) -> Draft:
        return self._chain.space(namespace).frames.tombstone(key, self._chain.clock.now())
