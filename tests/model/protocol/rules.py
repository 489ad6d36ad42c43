"""The rules of the protocol as switches: with one off, some scenario must break a promise."""

from __future__ import annotations

from typing import NamedTuple


class Rules(NamedTuple):
    """All on is the protocol. A letter after the number is a part of a rule that can be forgotten on its own."""

    r1: bool = True
    """A confirm clears a mark only if version and generation are those that were put."""
    r2: bool = True
    """A write below the floor does not enter memory."""
    r2_reads: bool = True
    """A read below the floor neither enters memory nor is returned."""
    r2_absent: bool = True
    """Whatever a read or a batch returns, an absence too, raises the floor and drops what is older from memory."""
    r3: bool = True
    """Emptying memory marks the flights under way: nobody joins them."""
    r3_mark: bool = True
    """A write or an invalidation marks the flights under way: nobody joins them."""
    r4: bool = True
    """Emptying memory begins a new epoch: what was under way populates nothing."""
    r4_gap: bool = True
    """A gap in the subscription empties memory."""
    r5: bool = True
    """Own messages are compared by version like all others."""
    r6_retention: bool = True
    """Frames and tombstones stay a minute beyond their expiry, as frames that read as absent."""
    r6_not_after: bool = True
    """A put is refused by the server after a time well below that minute."""
    r6_from_record: bool = True
    """That time counts from the record's commit or read, not from the sending of the command."""
    r7: bool = True
    """Every process polls the record's pending marks."""
    r7_generation: bool = True
    """Every process polls the record's generation."""
    r7_open: bool = True
    """It does so while its breaker is open, too."""
    r7_trust: bool = True
    """Trust in memory and the time of two looks are at most δ together."""
    r7_rewritten: bool = True
    """A key that was pending in two looks is owed, though the mark was replaced by a newer write in between."""
    r8: bool = True
    """A put goes into the generation of the commit or read it belongs to."""
    r8_put_back: bool = True
    """A record that was put back to an older copy starts anew, as soon as somebody meets Redis, where was noted how far it was."""
    r8_sessions: bool = True
    """What is noted names who wrote last, beside the version: that may be reached again before anybody meets Redis."""
    r8_found: bool = True
    """A session that came later and found less than was noted shows the loss, too, if the last one before is in the copy."""
    r8_anew: bool = True
    """It goes on with a generation and versions that were never given: the same copy may be put back again."""
    r9: bool = True
    """What Redis did not give, because it failed or was skipped, is owed."""
    r9_paid: bool = True
    """So it is when the debt was paid while the record was asked, unless Redis holds by now what was read."""
    r10: bool = True
    """A read that passes a half-open tier owes."""
    r11_trust: bool = True
    """Trust counts from the start of a read."""
    r11_join: bool = True
    """A flight older than δ is joined by nobody."""
    r12: bool = True
    """A skipped put owes."""
    r12_close: bool = True
    """Closing the breaker clears only the debts that were replayed."""
    r12_doubt: bool = True
    """A debt of unknown version does not hide known ones: what was added since the keeper looked stays owed."""
    r13: bool = True
    """Without a transaction: the intent is durable before the record write."""
    r13_reads: bool = True
    """A read that passes an open tier owes."""
    r13_replay: bool = True
    """Without a transaction: an intent whose writer lives is not cleared by those who replay it."""
    r14: bool = True
    """A put publishes whatever it did to the slot."""
    r15: bool = True
    """A command is not run by another server run than this process believes in."""
    r15_build: bool = True
    """Nor by another than it was built for: believing in a new run does not let old commands through."""
    r15_recorded: bool = True
    """The run that a generation was built on is kept in the record, for processes that start later."""
    r16: bool = True
    """An absence found in the record has a version: the highest that was given when it was read."""
    r17: bool = True
    """An absence that the record shows while a mark is pending, after a miss in Redis, is owed: it is not promoted."""
    r18: bool = True
    """What was passed by because the record is faster is not asked before two looks."""

    def without(self, *names: str) -> Rules:
        """These rules with `names` off."""
        return self._replace(**dict.fromkeys(names, False))
