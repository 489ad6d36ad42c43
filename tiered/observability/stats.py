"""Plain counters. Integers only: reading and adding costs tens of nanoseconds, and anyone may hold them.

`x += f()` would lose counts between threads: compute first, then add.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields

from tiered.errors import Reason
from tiered.observability.histogram import Histogram
from tiered.observability.operation import READ_OPS, WRITE_OPS, Operation, OperationStats

OTHER = "other"
CACHE_OPS = ("get", "get_many", "put", OTHER)
RECORD_OPS = ("read", "read_many", "commit")
"""What tiers are asked, and whatever else: leases, claims, probes."""
STALE_BOUNDS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 86400.0)


def _reset(stats: object, names: Iterable[str]) -> None:
    """Counters to zero, in place: others hold them."""
    for name in names:
        held = getattr(stats, name)
        if isinstance(held, dict):
            for key, value in list(held.items()):
                if isinstance(value, (Histogram, OperationStats)):
                    value.reset()
                else:
                    del held[key]
        elif isinstance(held, Histogram):
            held.reset()
        elif isinstance(held, int):
            setattr(stats, name, 0)


@dataclass(slots=True)
class TierStats:
    """What one tier did. Counters only grow; under threads a count may rarely be lost, never invented."""

    hits: int = 0
    misses: int = 0
    skipped: int = 0
    """Reads that did not ask the tier: breaker open, or the key is owed."""
    unanswered: int = 0
    """Reads that asked it, and it failed, or had what this process cannot read."""
    corrupt: int = 0
    applied: int = 0
    superseded: int = 0
    """Written values refused because the tier held this version or a newer one."""
    promoted: int = 0
    outrun: int = 0
    """Promotions refused for the same reason."""
    queued: int = 0
    """Writes that the tier did not take, to be replayed."""
    replayed: int = 0
    replayed_in_vain: int = 0
    """Replays of what the tier held by then, or something newer."""
    replays_failed: int = 0
    dropped: int = 0
    """Debts that could no longer be counted one by one: the tier gets a new generation instead."""
    told: int = 0
    """Versions published to the memories of other processes."""
    read_bytes: int = 0
    written_bytes: int = 0
    errors: Counter[tuple[str, Reason]] = field(default_factory=Counter)
    repairs: Counter[str] = field(default_factory=Counter)
    """What `repair` mended, by the kind of difference."""
    bumps: Counter[str] = field(default_factory=Counter)
    """New generations, by their reason."""
    durations: dict[str, Histogram] = field(default_factory=dict)

    @classmethod
    def of(cls, ops: Iterable[str]) -> TierStats:
        """For a tier that is asked `ops`."""
        return cls(durations={op: Histogram() for op in ops})

    def timed(self, op: str, seconds: float) -> None:
        """`op` is over, whether well or not."""
        self.durations[op].observe(seconds)

    def failed(self, op: str, reason: Reason, seconds: float | None = None, *, reads: int = 0) -> None:
        """`op` failed after so long, if that is known, and `reads` keys got no answer."""
        if op not in self.durations:
            op = OTHER
        self.errors[op, reason] += 1
        self.unanswered += reads
        if seconds is not None:
            self.timed(op, seconds)

    def count_replay(self, items: Sequence[tuple[str, bytes]], applied: int) -> None:
        """`items` were replayed, and others told of them."""
        self.replayed += applied
        count = len(items) - applied
        self.replayed_in_vain += count
        count = len(items)
        self.told += count
        size = sum(len(frame) for _, frame in items)
        self.written_bytes += size

    def reset(self) -> None:
        """Start from zero, in a child after a fork."""
        _reset(self, (it.name for it in fields(self)))

    def as_dict(self) -> dict[str, object]:
        """A copy for people and JSON."""
        reasons = Counter[str]()
        for (_, reason), count in list(self.errors.items()):
            reasons[str(reason)] += count
        numbers = {it.name: getattr(self, it.name) for it in fields(self) if it.type == "int"}
        return {**numbers, "errors": dict(reasons), "repairs": dict(self.repairs), "bumps": dict(self.bumps)}


@dataclass(slots=True)
class StoreStats:
    """What one namespace did."""

    memory_hits: int = 0
    """By reads of one key: counted, not timed."""
    many_hits: int = 0
    """In memory, by reads of many."""
    misses: int = 0
    read_errors: int = 0
    """Keys whose read raised."""
    sets: int = 0
    deletes: int = 0
    loads: int = 0
    """Loaders that were run."""
    stored: int = 0
    """Loaded values that were stored."""
    load_errors: int = 0
    """Loaders that raised."""
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
    hits_below: Counter[str] = field(default_factory=Counter)
    """Values found below memory, by the tier that answered."""
    misses_below: Counter[str] = field(default_factory=Counter)
    operations: dict[str, OperationStats] = field(
        default_factory=lambda: {op: OperationStats() for op in (*READ_OPS, *WRITE_OPS)}
    )
    load_time: Histogram = field(default_factory=Histogram)
    stale_age: Histogram = field(default_factory=lambda: Histogram(STALE_BOUNDS))

    def operation(self, op: str, *, keys: int = 0) -> Operation:
        """For a `with` around one, which reads so many `keys`."""
        return Operation(self, op, keys)

    def found(self, tier: str, hit: bool) -> None:
        """A read below memory was answered."""
        if hit:
            self.hits_below[tier] += 1
        else:
            self.misses_below[tier] += 1
            self.misses += 1

    def reset(self) -> None:
        """Start from zero, in a child after a fork."""
        _reset(self, (it.name for it in fields(self)))

    def as_dict(self) -> dict[str, int]:
        """A copy for people and JSON."""
        return {it.name: getattr(self, it.name) for it in fields(self) if it.type == "int"}


@dataclass(slots=True)
class MemoryStats:
    """What happened to entries in memory beyond what `MemoryTier` counts itself."""

    promoted: int = 0
    outrun: int = 0
    """Entries that did not enter memory, which held something newer or has no room for them."""

    def reset(self) -> None:
        _reset(self, (it.name for it in fields(self)))


@dataclass(slots=True)
class CoherenceStats:
    """What came over the subscription to other processes' writes."""

    wanted: bool = False
    """Whether this chain subscribes at all."""
    started: bool = False
    connected: bool = False
    received: int = 0
    applied: int = 0
    """Messages that made an older entry leave memory."""
    stale: int = 0
    """Messages about what memory did not hold, or held as new: most of one's own are."""
    resyncs: int = 0
    """Times that memory started anew because messages may have been lost."""
    lag: Histogram = field(default_factory=Histogram)
    """From a heartbeat to its echo: every message sent before it was heard by then."""

    def reset(self) -> None:
        self.started = self.connected = False
        _reset(self, ("received", "applied", "stale", "resyncs", "lag"))
