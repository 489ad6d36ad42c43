"""Where the store of record is in its history, noted in cache tiers: it forgets that itself when it is put back."""

from __future__ import annotations

import logging

from tiered.chain import Chain
from tiered.errors import Reason, StoreError
from tiered.observability.events import transition
from tiered.replication.guard import Guard
from tiered.tiers.base import Restorable, Witness

logger = logging.getLogger(__name__)

NOTES = 10.0
"""Seconds after which a note is written again although nothing has changed (somebody may have removed it), or after it failed."""
LEFT = "left"
"""A place that no store has been at: whoever finds it noted starts anew, too."""


class Notes:
    """What one process writes and reads of them. For the keeper; raises the `StoreError` of a tier or the record."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._seen: dict[str, str] = {}
        self._noted: dict[str, tuple[str | None, float]] = {}

    def renew_if_lost(self, guard: Guard) -> bool:
        """Whether the record has forgotten what this tier may hold; then it starts anew.

        Else it would give versions again, and what is written now be refused for what was lost.
        """
        tier, record, restored = guard.tier, self._chain.record, False
        if isinstance(tier, Witness) and isinstance(record, Restorable):
            while not all(map(record.knows, self._places(guard, tier, line := record.history()[0]))):
                restored = record.start_anew(line) or restored
        return restored

    def write(self, guard: Guard, *, always: bool = False) -> None:
        """Let the tier know where the record is, for `renew_if_lost`; take it out of service if that has gone back.

        What becomes of a note says nothing of the tier's health.
        """
        tier, record, now = guard.tier, self._chain.record, self._chain.clock.monotonic()
        if not isinstance(tier, Witness) or not isinstance(record, Restorable):
            return
        line, place = record.history()
        if guard.name in self._seen and not record.knows(self._seen[guard.name]):
            guard.trip(f"{record.name} was put back to an older state")
            message = "%s: out of service until it starts anew: %s was put back to an older state"
            logger.warning(message, guard.name, record.name, extra=transition("opened", guard.name, op="note"))
            return
        self._seen[guard.name] = place
        noted, until = self._noted.get(guard.name, ("", 0.0))
        due = always or now >= until
        if noted is None and not due:
            return
        try:
            if due or noted != place:
                found, until = tier.note(line, place), now + NOTES
            else:
                found = tier.noted(line)
            self._noted[guard.name] = place, until
            if found is not None and not record.knows(found):
                self._leave(guard, tier, line)
        except StoreError as error:
            if error.tier != guard.name:
                raise
            guard.stats.failed("note", error.reason)
            self._noted[guard.name] = None, now + NOTES

    def write_last(self) -> None:
        """Before the end: who copies the store then copies no less than was noted."""
        for guard in self._chain.guards:
            if guard.breaker.closed:
                try:
                    self.write(guard)
                except StoreError as error:
                    # No more than a note: the one before it holds. Whoever closed the tiers already knows.
                    logger.info("%s: where it is could not be noted: %s", self._chain.record.name, error)

    # Private

    def _leave(self, guard: Guard, tier: Witness, line: str) -> None:
        """Another store goes on from where this one was, as a copy of its directory does, and each has put what the other
        would read. So both start anew: the other one when it finds what is noted now."""
        tier.note(line, LEFT)
        guard.trip(why := f"a copy of {self._chain.record.name} is in use with it, too")
        message = "%s: out of service until it starts anew: %s (give each a prefix of its own)"
        logger.warning(message, guard.name, why, extra=transition("opened", guard.name, op="note"))

    def _places(self, guard: Guard, tier: Witness, line: str) -> list[str]:
        """Where the record was, as far as this process has seen and the tier has noted."""
        places = [self._seen[guard.name]] if guard.name in self._seen else []
        try:
            noted = tier.noted(line)
        except StoreError as error:
            if error.tier != guard.name or error.reason not in (Reason.MISUSE, Reason.AUTH):
                raise
            guard.stats.failed("note", error.reason)  # it keeps values, but no notes, or somebody else's
            return places
        return places if noted is None else [*places, noted]
