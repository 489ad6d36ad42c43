"""Replay: giving a cache tier the present entries of the keys that it has not confirmed or is owed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from time import monotonic

from tiered.chain import Chain
from tiered.entry import Draft, version_of
from tiered.errors import Reason, StoreError, StoreUnavailable
from tiered.replication.guard import LARGE, Guard
from tiered.replication.owed import Debt
from tiered.tiers.base import Absence, Hosts, Journal, Notice, Write

BATCH = 500
ATTEMPTS = 5
"""At giving absences a version, while others write these keys."""
SET_ASIDE = 10
"""Entries that the tier may fail to take in one go, at most, as each may cost a timeout, and the keeper has to look meanwhile:
large ones wait for the next, owed, and what else it does not take is its own failure."""
NOBODYS = 0
"""A generation that no namespace ever has."""
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
        mark is paid: each write is marked until the tier has accepted it, or something newer. What the tier does not take,
        though it takes other entries, is set aside: it stays owed, and is tried again later.
        """
        debts, journal = guard.owed.debts(), self._chain.record.journal
        guard.refusals.begin(SET_ASIDE)
        try:
            return self._without_journal(guard, debts) if journal is None else self._pay(guard, debts, journal)
        except StoreError:
            count = len(debts)
            guard.stats.replays_failed += count
            raise

    def pay(self, guard: Guard, until: int) -> None:
        """`run`, if there is anything to give of what was owed at ticket `until`. Raises `StoreError`."""
        debts, journal = guard.owed.debts(until), self._chain.record.journal
        if self.due(guard, debts):
            self.run(guard)
        elif debts and journal is not None:  # all of it was set aside here, and others may have had it taken
            self._settle(guard, debts, journal)

    def due(self, guard: Guard, debts: Sequence[Debt]) -> bool:
        """Whether there is anything to give now, of `debts` or of what others told."""
        return any(not guard.refusals.waits(it.namespace, it.key) for it in debts) or bool(self._told(guard))

    def _pay(self, guard: Guard, debts: Sequence[Debt], journal: Journal) -> int:
        with journal.replaying(guard.name) as mine:
            replayed = self._marks(guard, journal) if mine or self._overdue(guard.name) else 0
            if mine:
                self._refused.pop(guard.name, None)
            journal.flush()
        replayed += self._of_other_hosts(guard)
        self._settle(guard, debts, journal)
        return replayed

    def _settle(self, guard: Guard, debts: Sequence[Debt], journal: Journal) -> None:
        """What is not pending any more is not owed, whoever has put it."""
        for start in range(0, len(debts), BATCH):
            batch = debts[start : start + BATCH]
            pending = journal.still_pending(guard.name, [(it.namespace, it.key) for it in batch])
            # Marks may be gone because the tier was abandoned: that was a new generation, which must be known first.
            for namespace in {debt.namespace for debt in batch}:
                self._chain.learn(self._chain.space(namespace), self._chain.record.generation(namespace))
            for debt in batch:
                if (debt.namespace, debt.key) not in pending:
                    guard.owed.settle(debt)

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
            taken = self._put(guard, ((it.namespace, it.key) for it in marks))
            journal.confirm([it for it in marks if (it.namespace, it.key) in taken])
            replayed += len(taken)
            if len(marks) < BATCH:
                break
        return replayed

    def _told(self, guard: Guard) -> list[Notice]:
        """What a process of some host could not put, but this one perhaps can."""
        if self._hosts is None or self._chain.record.journal is None:
            return []
        return [it for it in self._hosts.notices(guard.name) if not guard.refusals.waits(it.namespace, it.key)]

    def _of_other_hosts(self, guard: Guard) -> int:
        """The notices are seen before the record is read, so they say nothing newer than what is put."""
        notices = self._told(guard)
        if self._hosts is None or not notices:
            return 0
        taken = self._put(guard, (it[:2] for it in notices))
        self._hosts.settle(guard.name, [it for it in notices if it[:2] in taken])
        return len(taken)

    def _without_journal(self, guard: Guard, debts: Sequence[Debt]) -> int:
        replayed = 0
        for start in range(0, len(debts), BATCH):
            batch = debts[start : start + BATCH]
            taken = self._put(guard, ((it.namespace, it.key) for it in batch))
            for debt in batch:
                if (debt.namespace, debt.key) in taken:
                    guard.owed.settle(debt)
            replayed += len(taken)
        return replayed

    def _put(self, guard: Guard, keys: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        """Put the record's present entries, expired ones and absences included, and tell everybody; what the tier took."""
        wanted: dict[str, list[str]] = defaultdict(list)
        for namespace, key in keys:
            if not guard.refusals.waits(namespace, key):
                wanted[namespace].append(key)
        return {(namespace, key) for namespace, names in wanted.items() for key in self._offer(guard, namespace, names)}

    def _offer(self, guard: Guard, namespace: str, keys: list[str]) -> list[str]:
        """`_put` in one namespace: together, and where that fails in a tier that is well, one by one."""
        since = monotonic()
        generation, items = self._entries(guard, namespace, keys)
        if guard.refusals.enough:
            items = self._without_large(guard, namespace, items)
        if not items:
            return []
        try:
            results = guard.tier.put_many(f"{namespace}:{generation}", items, since=since, tell=True)
        except StoreError as error:
            if guard.refusals.enough or not self._takes_others(guard, namespace):
                raise
            if len(keys) > 1:
                return self._one_by_one(guard, namespace, keys)
            guard.set_aside(namespace, items[0], error)
            return []
        guard.stats.count_replay(items, sum(results))
        return [key for key, _ in items]

    def _one_by_one(self, guard: Guard, namespace: str, keys: list[str]) -> list[str]:
        taken = list[str]()
        for number, key in enumerate(keys):
            if guard.refusals.enough:
                return taken + self._offer(guard, namespace, keys[number:])
            taken += self._offer(guard, namespace, [key])
        return taken

    def _without_large(self, guard: Guard, namespace: str, items: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        """Those that are left are owed from here on, which the tier may come back with (R12), and are next."""
        guard.owe_many(namespace, [(key, version_of(frame)) for key, frame in items if len(frame) > LARGE])
        return [it for it in items if len(it[1]) <= LARGE]

    def _takes_others(self, guard: Guard, namespace: str) -> bool:
        """Whether the tier takes a small entry now, which nobody reads; else it is the tier that is not well."""
        if not guard.tier.health().ok:
            return False
        now = self._chain.clock.now()
        grave = self._grave(namespace, "").seal(now)  # newer than the last: else nothing would be written
        try:
            guard.tier.put_many(f"{namespace}:{NOBODYS}", [("", grave)], since=monotonic())
        except StoreError:
            return False
        return True

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
