"""What caches do at the moment, from what their metrics say: the rows of `tiered stat` and `tiered top`."""

from __future__ import annotations

from dataclasses import dataclass

from tiered.cli.series import Change
from tiered.observability.operation import WRITE_OPS

NAMES = ("tiered_tier_info", "tiered_tier_reads_total", "tiered_breaker_state", "tiered_reads_total")
"""Where caches and tiers are looked for: an older or a newer release may lack one of them."""


@dataclass(frozen=True, slots=True)
class TierActivity:
    """One tier. Rates are per second, times in seconds; None where it is not known or does not apply."""

    cache: str
    tier: str
    role: str
    state: str
    """Of its breaker: closed, open, half_open; of several processes the worst. Empty for tiers without one."""
    away: int
    """In so many processes the breaker is not closed."""
    reads: float
    hits: float | None
    """The share of reads that it could answer."""
    errors: float
    p50: float | None
    p99: float | None
    pending: int
    oldest: float
    capacity: int
    entries: int | None
    bytes: int | None
    limit: int | None


@dataclass(frozen=True, slots=True)
class CacheActivity:
    """One cache, in all the processes that were asked."""

    cache: str
    processes: int
    reads: float
    hits: float | None
    """The share of reads that found a value."""
    memory: float | None
    """The share of reads that memory answered."""
    writes: float
    degraded: float
    """Writes that a tier missed and that are queued for it."""
    errors: float
    p99: float | None
    """Of reads that memory did not answer."""
    dropped: int
    """Writes that no tier was given, since the processes started."""
    tiers: list[TierActivity]


def activities(change: Change, only: str | None = None) -> list[CacheActivity]:
    """Of each cache there is, or of the one called `only`."""
    names = dict.fromkeys(cache for name in NAMES for cache in change.now.label(name, "cache"))
    return [_cache(change, cache) for cache in names if only in (None, cache)]


def _cache(change: Change, cache: str) -> CacheActivity:
    where, rate = {"cache": cache}, change.rate
    reads, tiers = rate("tiered_reads_total", **where), _tiers(change, cache)
    found = sum(rate("tiered_reads_total", result=result, **where) for result in ("hit", "stale"))
    memories = [it.tier for it in tiers if it.role == "memory"]
    memory = sum(rate("tiered_reads_total", result="hit", tier=tier, **where) for tier in memories)
    return CacheActivity(
        cache=cache,
        processes=_processes(change, where),
        reads=reads,
        hits=_share(found, reads),
        memory=_share(memory, reads) if memories else None,
        writes=sum(rate("tiered_operations_total", op=op, **where) for op in WRITE_OPS),
        degraded=rate("tiered_operations_total", result="degraded", **where),
        errors=rate("tiered_operations_total", result="error", **where),
        p99=change.quantile(0.99, "tiered_operation_duration_seconds", op="get", **where),
        dropped=round(change.now.total("tiered_replay_writes_total", result="dropped", **where)),
        tiers=tiers,
    )


def _processes(change: Change, where: dict[str, str]) -> int:
    """Behind one endpoint there are several where PROMETHEUS_MULTIPROC_DIR is set; then gauges have a pid."""
    for name in ("tiered_breaker_state", *NAMES):
        if seen := {(dict(has)["instance"], dict(has).get("pid")) for has, _ in change.now.of(name, **where)}:
            return len(seen)
    return 0


def _tiers(change: Change, cache: str) -> list[TierActivity]:
    places: dict[str, tuple[int, str]] = {}
    for has, _ in change.now.of("tiered_tier_info", cache=cache):
        labels = dict(has)
        places[labels["tier"]] = int(labels.get("position", 0)), labels.get("role", "")
    for name in NAMES[1:3]:
        for tier in change.now.label(name, "tier", cache=cache):
            places.setdefault(tier, (len(places), ""))
    return [_tier(change, cache, tier, places[tier][1]) for tier in sorted(places, key=lambda it: places[it])]


def _tier(change: Change, cache: str, tier: str, role: str) -> TierActivity:
    where, now = {"cache": cache, "tier": tier}, change.now
    asked = {
        it: change.rate("tiered_tier_reads_total", result=it, **where) for it in ("hit", "miss", "error", "skipped")
    }
    states = {state: round(now.total("tiered_breaker_state", state=state, **where)) for state in ("open", "half_open")}
    closed = round(now.total("tiered_breaker_state", state="closed", **where))
    state = next((state for state, count in states.items() if count), "closed" if closed else "")
    reads = asked["hit"] + asked["miss"] + asked["error"]
    return TierActivity(
        cache=cache,
        tier=tier,
        role=role,
        state=state,
        away=sum(states.values()),
        reads=reads,
        hits=_share(asked["hit"], reads),
        errors=change.rate("tiered_tier_errors_total", **where),
        p50=change.quantile(0.5, "tiered_tier_operation_duration_seconds", **where),
        p99=change.quantile(0.99, "tiered_tier_operation_duration_seconds", **where),
        pending=round(now.most("tiered_replay_pending", **where)),
        oldest=now.most("tiered_replay_oldest_age_seconds", **where),
        capacity=round(now.most("tiered_replay_capacity", **where)),
        entries=_known(change, "tiered_entries", where),
        bytes=_known(change, "tiered_size_bytes", where),
        limit=_known(change, "tiered_limit_bytes", where),
    )


def _known(change: Change, name: str, where: dict[str, str]) -> int | None:
    return round(change.now.total(name, **where)) if any(change.now.of(name, **where)) else None


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None
