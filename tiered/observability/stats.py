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

    def reset(self) -> None:
        """Start from zero, in a child after a fork."""
        for name in ("hits", "misses", "skipped", "corrupt", "applied", "superseded", "replayed"):
            setattr(self, name, 0)
        self.errors.clear()

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
    """Loaders that were run."""
    coalesced: int = 0
    """Reads that waited for another's instead of doing their own."""
    joined: int = 0
    """Loads that waited for another thread."""
    waited: int = 0
    """Loads that waited for another process."""
    unleased: int = 0
    """Loads without a lease, because no tier could give one or the patience of the caller was at its end."""
    fenced: int = 0
    """Loaded values that were not stored, because the key had been written, deleted or cleared meanwhile."""
    refreshed: int = 0
    """Loads in the background, before the value expired."""
    refresh_errors: int = 0
    refresh_skipped: int = 0
    """Refreshes that found too many others waiting."""
    stale_served: int = 0
    """Expired values that were served, because the loader failed or another was loading."""
    unproven: int = 0
    """Reads that a cache or memory answered because the store of record could not."""
    conflicts: int = 0
    """Conditional writes that lost a race and were tried again."""

    def reset(self) -> None:
        """Start from zero, in a child after a fork."""
        for name in self.__slots__:
            setattr(self, name, 0)

    def as_dict(self) -> dict[str, int]:
        """A copy for people and JSON."""
        return {name: getattr(self, name) for name in self.__slots__}
