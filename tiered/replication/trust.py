"""How long a process may believe what it holds without asking the store of record again: the staleness bound δ.

Four moments are known, each the *start* of something that has ended well (PROTOCOL R7, R11):

- `settled`: of the look before the last at the record's pending marks. What was committed before it is in the cache
  tiers, or owed there.
- `looked`: of the last look.
- `marked`: of the last look at which every cache tier was adopted, so that everybody's writes leave marks there. No memory entry
  is older than a write that was pending then.
- `heard`: of the last heartbeat of the subscription that was answered. Every message sent before it has arrived.

So an entry from the record is as new as its read; one from a cache tier as `settled`; and one that has been in memory
since before both, as the earlier of `marked` and `heard`. Each is served for δ from then, whatever the threads that
look and listen are delayed by: the deadline is in the entry, and no clock has to tick for it to pass.
"""

from __future__ import annotations

import math


class Trust:
    """The four moments, in monotonic seconds. Attributes are replaced whole, so it may be read by any thread."""

    def __init__(self, staleness: float) -> None:
        self.staleness = staleness
        """δ in seconds; infinite where no other process can write."""
        self.settled = self.looked = self.marked = self.heard = -math.inf

    def forget(self) -> None:
        """Nothing is proven any more: at the start, and in a child after a fork."""
        self.settled = self.looked = self.marked = self.heard = -math.inf

    def look(self, started: float, *, adopted: bool = True) -> None:
        """A look at the pending marks that began at `started` is over; the first one has seen them all, and owed them.

        `adopted`: every cache tier was adopted when it began.
        """
        self.settled, self.looked = started if self.looked == -math.inf else self.looked, started
        if adopted:
            self.marked = started

    def record_until(self, since: float) -> float:
        """Until when an entry may be served that the record gave to a read or write which began at `since`."""
        return since + self.staleness

    def cache_until(self, since: float) -> float:
        """Until when an entry may be served that a cache tier gave to a read which began at `since`."""
        return math.inf if self.staleness == math.inf else min(since, self.settled) + self.staleness

    def first_until(self, started: float, passed_at: float) -> float:
        """`cache_until` for a read that began at `started`; 0.0 if it must not ask a cache tier that was passed by then.

        `caches`, `proven` and `cache_until` in one call, of one moment: most reads below memory begin with it.
        """
        if self.staleness == math.inf:
            return math.inf
        settled, until = self.settled, self.settled + self.staleness
        if started >= until or passed_at >= settled:
            return 0.0
        return until if started > settled else started + self.staleness

    def memory_until(self, since: float) -> float:
        """Until when an entry that has been in memory since a read at `since` may be served without asking again."""
        proven = min(self.marked, self.heard)
        return proven + self.staleness if since <= proven else since

    def proven(self, moment: float) -> bool:
        """Whether all that was committed before `moment` is in the cache tiers, or owed there."""
        return self.staleness == math.inf or moment < self.settled

    def caches(self, now: float) -> bool:
        """Whether the cache tiers may be read: what they lack is known to be owed, up to less than δ ago."""
        return self.staleness == math.inf or now < self.settled + self.staleness
