"""Plain counters. Integers only: reading and adding costs tens of nanoseconds, and anyone may hold them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tiered.errors import Reason


@dataclass(slots=True)
class TierStats:
    """What one tier did. Counters only grow; under threads a count may rarely be lost, never invented."""

    hits: int = 0
    misses: int = 0
    skipped: int = 0
    """Reads that did not ask the tier: breaker open, or the key is owed."""
    corrupt: int = 0
    applied: int = 0
    superseded: int = 0
    """Puts refused because the tier held this version or a newer one."""
    replayed: int = 0
    errors: Counter[Reason] = field(default_factory=Counter)
    repairs: Counter[str] = field(default_factory=Counter)
    """What `repair` mended, by the kind of difference."""

    def failed(self, reason: Reason) -> None:
        self.errors[reason] += 1

    def as_dict(self) -> dict[str, object]:
        """A copy for people and JSON."""
        names = ("hits", "misses", "skipped", "corrupt", "applied", "superseded", "replayed")
        return {
            **{name: getattr(self, name) for name in names},
            "errors": {str(k): v for k, v in self.errors.items()},
            "repairs": dict(self.repairs),
        }


@dataclass(slots=True)
class StoreStats:
    """What one namespace did."""

    memory_hits: int = 0
    misses: int = 0
    sets: int = 0
    deletes: int = 0
    loads: int = 0
    coalesced: int = 0
    """Reads and loads that waited for another's instead of doing their own."""
    stale_served: int = 0
    conflicts: int = 0
    """Conditional writes that lost a race and were tried again."""

    def as_dict(self) -> dict[str, int]:
        """A copy for people and JSON."""
        return {name: getattr(self, name) for name in self.__slots__}
