"""What time brings to a journal of intents: writers that died, doubts that end, limits that are passed."""

from __future__ import annotations

import logging
from threading import Lock

from tiered.clock import Clock
from tiered.errors import StoreError
from tiered.tiers import intent_tables as tables
from tiered.tiers.base import Record
from tiered.tiers.intent_store import IntentStore
from tiered.tiers.overfull import overfull
from tiered.tiers.sqlite import Cursor, first

logger = logging.getLogger(__name__)

PAUSE = 1.0
"""Seconds between two rounds, at least."""


class Tidying:
    """Of one journal, by any process that uses it. Thread-safe; raises `StoreError`."""

    def __init__(self, record: Record, store: IntentStore, clock: Clock, max_pending: int, grace: float) -> None:
        self._record, self._store, self._clock = record, store, clock
        self._max_pending, self._grace = max_pending, grace
        self._doubts: dict[int, float] = {}
        self._last = -PAUSE
        self._lock = Lock()  # held by whoever is at it
        self.full = False
        """Whether no more writes may be announced: there are too many of which nobody knows what becomes."""

    def run(self) -> None:
        """A round, if it is time for one."""
        now = self._clock.monotonic()
        if now - self._last >= PAUSE and self._lock.acquire(blocking=False):
            try:
                self._last = now
                self._bury()
                self._end_doubts(now)
                self._limit()
            finally:
                self._lock.release()

    def _bury(self) -> None:
        """What dead writers have announced is in doubt."""
        store = self._store
        for (writer,) in store.read(lambda db: db.execute("SELECT DISTINCT writer FROM intents").fetchall()):
            if type(writer) is int and writer not in (tables.NOBODY, store.writers.number):
                with store.writers.vacant(writer) as dead:
                    if dead:
                        store.write(lambda db, writer=writer: tables.abandon_writer(db, writer), lazy=True)  # type: ignore[misc]  # bound now

    def _end_doubts(self, now: float) -> None:
        """Those that this process has known for the time of grace: a clock that others set says nothing about it.

        While the record does not answer, that time does not run: a write may wait there until it does.
        """

        def look(db: Cursor) -> list[int]:
            rows = db.execute("SELECT id FROM intents WHERE writer = ?", (tables.NOBODY,))
            return [intent for (intent,) in rows]

        doubts = self._store.read(look)
        if doubts and not self._answers():
            self._doubts = dict.fromkeys(doubts, now)
            return
        self._doubts = {intent: self._doubts.get(intent, now) for intent in doubts}
        due = [intent for intent, since in self._doubts.items() if now - since >= self._grace]
        if due:
            self._store.write(lambda db: tables.end_doubts(db, due), lazy=True)

    def _answers(self) -> bool:
        try:
            self._record.generation("default")
        except StoreError:
            return False
        return True

    def _limit(self) -> None:
        """Give up every tier with too many marks: a new generation instead of a journal without end."""

        def look(db: Cursor) -> tuple[bool, list[str]]:
            full = first(db, "SELECT 1 FROM intents LIMIT 1 OFFSET ?", (self._max_pending,)) is not None
            return full, overfull(db, "marks", self._max_pending)

        self.full, found = self._store.read(look)
        for tier in found:
            self._give_up(tier)

    def _give_up(self, tier: str) -> None:
        """Nobody believes in the tier any more, then comes the new generation, and only then its marks may go.

        Intents stay, and so do marks of writes that ended meanwhile: they may belong to the new generation.
        """
        last = self._store.read(lambda db: first(db, "SELECT max(place) FROM marks")[0])
        since = self._store.write(lambda db: tables.unbelieve(db, tier))
        self._record.bump()
        self._store.write(lambda db: tables.abandon(db, tier, since, last))
        logger.warning(
            "%s: more than %d writes pending; it will return under a new generation", tier, self._max_pending
        )
