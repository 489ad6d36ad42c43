"""Reading a chain's counters: what they are at this moment, as (metric, label values, value). No I/O, nothing waits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import reduce
from math import inf
from typing import Any, NamedTuple

from tiered.chain import Chain, Space
from tiered.errors import Reason
from tiered.observability.catalog import Value
from tiered.observability.histogram import Histogram
from tiered.observability.operation import READ_OPS, WRITE_OPS
from tiered.observability.stats import OTHER, STALE_BOUNDS, TierStats
from tiered.replication.breaker import State
from tiered.replication.guard import Guard
from tiered.verification.report import MENDABLE

OTHERS = "(others)"
"""The namespaces beyond `metric_namespaces`: their counts are added up."""


class Reading(NamedTuple):
    metric: str
    labels: tuple[str, ...]
    value: Value


def read_chain(cache: str, chain: Chain) -> Iterator[Reading]:
    """Everything about one chain; every label set is there from the start."""
    spaces = chain.spaces()
    for metric, labels, value in _all(chain, spaces):
        yield Reading(metric, (cache, *labels), value)


_Row = tuple[str, tuple[str, ...], Value]


def _all(chain: Chain, spaces: list[Space]) -> Iterator[_Row]:
    yield from _tiers(chain)
    for name, group in _grouped(spaces, chain.metric_namespaces):
        yield from _namespace(chain, name, group)
    yield from _operations(spaces)
    if chain.has_memory:
        yield from _memory(chain, spaces)
    for guard in chain.guards:
        yield from _asked(guard.name, guard.stats)
        yield from _guarded(guard, chain)
    if chain.record is not chain.memory:
        yield from _asked(chain.record.name, chain.record_stats)
    yield from _record(chain)
    if chain.coherence_stats.wanted:
        yield from _coherence(chain)


def _grouped(spaces: list[Space], most: int) -> Iterator[tuple[str, list[Space]]]:
    """Each of the first namespaces by itself, in the order of their first use; then the others in one."""
    yield from ((space.name, [space]) for space in spaces[:most])
    if len(spaces) > most:
        yield OTHERS, spaces[most:]


def _tiers(chain: Chain) -> Iterator[_Row]:
    memory = [chain.memory] if chain.has_memory and chain.memory is not chain.record else []
    tiers: list[tuple[str, Any]] = [
        *(("memory", tier) for tier in memory),
        *(("cache", guard.tier) for guard in chain.guards),
        ("record", chain.record),
    ]
    for position, (role, tier) in enumerate(tiers):
        kind = type(tier).__name__.removesuffix("Tier").lower()
        yield "tiered_tier_info", (tier.name, kind, role, str(position)), 1


def _namespace(chain: Chain, name: str, spaces: list[Space]) -> Iterator[_Row]:
    def total(of: str) -> int:
        return sum(getattr(space.stats, of) for space in spaces)

    names = [*(guard.name for guard in chain.guards), chain.record.name]
    if chain.has_memory and chain.memory is not chain.record:
        hits = total("memory_hits") + total("many_hits")
        hits += sum(space.stats.hits_below[chain.memory.name] for space in spaces)  # as the record could not be asked
        yield "tiered_reads_total", (name, "hit", chain.memory.name), hits
    for tier in names:
        hits = sum(space.stats.hits_below[tier] for space in spaces)
        if chain.memory is chain.record and tier == chain.record.name:
            hits += total("memory_hits") + total("many_hits")
        yield "tiered_reads_total", (name, "hit", tier), hits
        misses = sum(space.stats.misses_below[tier] for space in spaces)
        yield "tiered_reads_total", (name, "miss", tier), misses
    yield "tiered_reads_total", (name, "stale", chain.record.name), total("stale_served")
    yield "tiered_reads_total", (name, "error", "none"), total("read_errors")
    yield "tiered_unproven_reads_total", (name,), total("unproven")
    for result, of in (("stored", "stored"), ("overtaken", "fenced"), ("error", "load_errors")):
        yield "tiered_loads_total", (name, result), total(of)
    waits = total("coalesced") + total("joined") + total("waited")
    yield "tiered_coalesced_waits_total", (name,), waits


def _operations(spaces: list[Space]) -> Iterator[_Row]:
    for op in (*READ_OPS, *WRITE_OPS):
        all_of_it = [space.stats.operations[op] for space in spaces]
        yield "tiered_operations_total", (op, "ok"), sum(it.ok for it in all_of_it)
        yield "tiered_operations_total", (op, "error"), sum(it.errors for it in all_of_it)
        if op in WRITE_OPS:
            yield "tiered_operations_total", (op, "degraded"), sum(it.degraded for it in all_of_it)
        yield "tiered_operation_duration_seconds", (op,), _sum(it.duration for it in all_of_it)
    yield "tiered_load_duration_seconds", (), _sum(space.stats.load_time for space in spaces)
    yield "tiered_stale_read_age_seconds", (), _sum((space.stats.stale_age for space in spaces), STALE_BOUNDS)


def _memory(chain: Chain, spaces: list[Space]) -> Iterator[_Row]:
    memory, stats = chain.memory, chain.memory_stats
    hits = sum(space.stats.memory_hits + space.stats.many_hits for space in spaces)
    below = sum(
        space.stats.hits_below.total() + space.stats.misses_below.total() + space.stats.read_errors for space in spaces
    )
    for result, count in (("hit", hits), ("miss", below), ("error", 0), ("skipped", 0)):
        yield "tiered_tier_reads_total", (memory.name, result), count
    yield "tiered_promotions_total", (memory.name, "applied"), stats.promoted
    yield "tiered_promotions_total", (memory.name, "superseded"), stats.outrun
    yield "tiered_evictions_total", (memory.name, "size"), memory.evictions
    yield "tiered_evictions_total", (memory.name, "invalidated"), chain.coherence_stats.applied
    yield "tiered_entries", (memory.name,), memory.entries
    yield "tiered_size_bytes", (memory.name,), memory.bytes
    yield "tiered_limit_bytes", (memory.name,), memory.max_bytes


def _asked(tier: str, stats: TierStats) -> Iterator[_Row]:
    """What is the same for a cache tier and for the record."""
    results = {
        "hit": stats.hits,
        "miss": stats.misses,
        "error": stats.unanswered + stats.corrupt,
        "skipped": stats.skipped,
    }
    for result, count in results.items():
        yield "tiered_tier_reads_total", (tier, result), count
    for op, duration in stats.durations.items():
        yield "tiered_tier_operation_duration_seconds", (tier, op), duration
    for op in {**stats.durations, OTHER: None}:
        for reason in Reason:
            yield "tiered_tier_errors_total", (tier, op, reason.value), stats.errors[op, reason]
    yield "tiered_tier_read_bytes_total", (tier,), stats.read_bytes
    yield "tiered_tier_written_bytes_total", (tier,), stats.written_bytes


def _guarded(guard: Guard, chain: Chain) -> Iterator[_Row]:
    name, stats, breaker, owed = guard.name, guard.stats, guard.breaker, guard.owed
    for state in State:
        yield "tiered_breaker_state", (name, state.value), int(breaker.state is state)
        yield "tiered_breaker_transitions_total", (name, state.value), breaker.transitions[state]
    yield "tiered_tier_unavailable_seconds_total", (name,), breaker.unavailable
    capacity = min(owed.limit, getattr(chain.record, "max_pending", inf))
    yield "tiered_replay_pending", (name,), capacity if owed.lost else len(owed)
    yield "tiered_replay_capacity", (name,), capacity
    yield "tiered_replay_oldest_age_seconds", (name,), owed.age
    results = {
        "queued": stats.queued,
        "applied": stats.replayed,
        "superseded": stats.replayed_in_vain,
        "failed": stats.replays_failed,
        "dropped": stats.dropped,
    }
    for result, count in results.items():
        yield "tiered_replay_writes_total", (name, result), count
    for reason in ("journal_full", "server_changed", "marks_lost", "record_restored"):
        yield "tiered_generation_bumps_total", (name, reason), stats.bumps[reason]
    yield "tiered_promotions_total", (name, "applied"), stats.promoted
    yield "tiered_promotions_total", (name, "superseded"), stats.outrun
    yield "tiered_evictions_total", (name, "corrupt"), stats.corrupt
    yield "tiered_invalidations_sent_total", (name,), stats.told
    for kind in MENDABLE:
        yield "tiered_repairs_total", (name, kind.value), stats.repairs[kind]


def _record(chain: Chain) -> Iterator[_Row]:
    for reason in ("clear", "repair"):
        yield "tiered_generation_bumps_total", (chain.record.name, reason), chain.record_stats.bumps[reason]
    expired = getattr(chain.record, "expired", None)
    if isinstance(expired, int):
        yield "tiered_evictions_total", (chain.record.name, "expired"), expired


def _coherence(chain: Chain) -> Iterator[_Row]:
    stats = chain.coherence_stats
    yield "tiered_invalidations_received_total", ("applied",), stats.applied
    yield "tiered_invalidations_received_total", ("stale",), stats.stale
    if stats.started:  # before its first use a store has nothing to hear, and is no reason for an alert
        yield "tiered_invalidation_connected", (), int(stats.connected)
    yield "tiered_invalidation_resyncs_total", (), stats.resyncs
    yield "tiered_invalidation_lag_seconds", (), stats.lag


def _sum(histograms: Iterable[Histogram], bounds: tuple[float, ...] | None = None) -> Histogram:
    return reduce(Histogram.plus, histograms, Histogram() if bounds is None else Histogram(bounds))
