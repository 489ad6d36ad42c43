"""What the operations return."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

TierOutcome = Literal["ok", "queued", "skipped"]


class WriteOutcome(NamedTuple):
    """An acknowledged write: its version, and per tier "ok", "queued" (it will be replayed) or "skipped".

    Memory skips what it does not keep: there is no room for it, or something newer may have come first.
    """

    version: int
    tiers: Mapping[str, TierOutcome]


class Lookup(NamedTuple):
    """What a read found, and where."""

    found: bool
    value: Any = None
    tier: str | None = None
    """The tier that answered, also for "known to be absent"."""
    version: int = 0
    expires_at: float | None = None
    """Unix seconds; None if it never expires."""
    age: float = 0.0
    """Seconds since this copy left a shared tier; 0 unless memory answered."""
    unproven: bool = False
    """The store of record cannot be asked, and there may have been a newer write (`serve_unproven`, docs/couchbase.md)."""
