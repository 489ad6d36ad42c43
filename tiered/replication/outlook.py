"""What a process sees of one cache tier in the record's journal, from look to look (PROTOCOL R7)."""

from __future__ import annotations

import logging

from tiered.chain import Chain
from tiered.entry import MAX_VERSION
from tiered.observability.events import transition
from tiered.replication.guard import Guard
from tiered.tiers.base import Journal, Mark

logger = logging.getLogger(__name__)

PAGE = 500

Key = tuple[str, str]


class Outlook:
    """The pending marks of one tier as this process has seen them. For one thread at a time.

    A healthy write is pending for a moment, so a mark alone says little: the memory entry below it is dropped, but only a
    key that is pending in two looks is owed. Marks are read in the journal's order from where the look before the last
    ended; so a look costs as much as was written meanwhile, however long the journal is.
    """

    def __init__(self, chain: Chain, guard: Guard) -> None:
        self._chain, self._guard = chain, guard
        self._above = self._seen = 0
        self._pending: set[Key] | None = None

    def look(self) -> None:
        """Raises `StoreError` if the record cannot be asked."""
        journal = self._chain.record.journal
        if journal is None:
            return
        before, pending, cursor = self._pending, set(journal.intents()), self._above
        self._notice_intents(pending, before)
        while marks := journal.pending(self._guard.name, limit=PAGE, above=cursor):
            for mark in marks:
                self._notice(mark, before)
                pending.add((mark.namespace, mark.key))
            cursor = marks[-1].at
            if len(marks) < PAGE:
                break
        self._above, self._seen, self._pending = self._seen, max(self._seen, cursor), pending
        self._check_adoption(journal)

    def _notice_intents(self, intents: set[Key], before: set[Key] | None) -> None:
        """Writes that may have happened, in versions that nobody knows, or may still: each look meets them anew (R13)."""
        for namespace, key in intents:
            self._notice(Mark(self._guard.name, namespace, key, MAX_VERSION, 0), before)
        with self._chain.memory.lock:
            for namespace in {namespace for namespace, _ in intents}:
                self._chain.space(namespace).flights.renew()  # or that floor, above everything, would stay

    def _notice(self, mark: Mark, before: set[Key] | None) -> None:
        """At the first look of all everything pending is owed: nobody knows for how long it has been."""
        if before is None or (mark.namespace, mark.key) in before:
            self._guard.owe(mark.namespace, mark.key, mark.version)
        space = self._chain.space(mark.namespace)
        with self._chain.memory.lock:
            self._chain.memory.drop_older(space.part, mark.key, mark.version)
            space.flights.change(mark.key, mark.version)

    def _check_adoption(self, journal: Journal) -> None:
        """Another process may have found another server, or the journal's limit was passed: then start anew, too."""
        guard = self._guard
        if guard.breaker.closed and guard.identity is not None and journal.adopted(guard.name) != guard.identity:
            guard.trip(why := "another process found other data there, or marks were given up")
            logger.warning("%s: %s", guard.name, why, extra=transition("opened", guard.name, op="look"))
