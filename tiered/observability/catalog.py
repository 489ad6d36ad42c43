"""What is exported: every metric, its labels and its help. docs/metrics.md says how to read them; a test compares the two."""

from __future__ import annotations

from typing import Literal, NamedTuple

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from tiered.observability.histogram import Histogram

Kind = Literal["counter", "gauge", "histogram"]
_FAMILIES = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}


class Exported(NamedTuple):
    """One metric. Its name is complete, `_total` included."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str

    def family(self) -> Metric:
        """Without samples."""
        family: Metric = _FAMILIES[self.kind](self.name, self.help, labels=self.labels)
        return family


def _counter(name: str, labels: str, help: str) -> Exported:
    return Exported(name, "counter", tuple(labels.split()), help)


def _gauge(name: str, labels: str, help: str) -> Exported:
    return Exported(name, "gauge", tuple(labels.split()), help)


def _histogram(name: str, labels: str, help: str) -> Exported:
    return Exported(name, "histogram", tuple(labels.split()), help)


CATALOG = (
    _counter("tiered_reads_total", "cache namespace result tier", "Keys read, by result and the tier that answered."),
    _counter(
        "tiered_unproven_reads_total",
        "cache namespace",
        "Keys answered from above a store of record that could not be asked.",
    ),
    _counter("tiered_operations_total", "cache op result", "Operations, but for reads that memory alone answered."),
    _histogram("tiered_operation_duration_seconds", "cache op", "How long those operations took."),
    _counter("tiered_tier_reads_total", "cache tier result", "Keys that a tier was to be asked for."),
    _histogram("tiered_tier_operation_duration_seconds", "cache tier op", "How long a tier took to answer or to fail."),
    _counter("tiered_tier_errors_total", "cache tier op error", "Failures of a tier, by kind."),
    _counter("tiered_tier_read_bytes_total", "cache tier", "Bytes of stored entries read from a tier."),
    _counter("tiered_tier_written_bytes_total", "cache tier", "Bytes of stored entries written to a tier."),
    _gauge("tiered_breaker_state", "cache tier state", "1 for the state that the breaker is in."),
    _counter("tiered_breaker_transitions_total", "cache tier to", "How often the breaker entered a state."),
    _counter(
        "tiered_tier_unavailable_seconds_total", "cache tier", "Seconds out of service, the running outage included."
    ),
    _gauge("tiered_replay_pending", "cache tier", "Keys that the tier is owed."),
    _gauge("tiered_replay_capacity", "cache tier", "Keys beyond which the tier starts anew instead."),
    _gauge("tiered_replay_oldest_age_seconds", "cache tier", "Seconds since the oldest debt was made; 0 without any."),
    _counter(
        "tiered_replay_writes_total",
        "cache tier result",
        "Writes that a tier did not take at once, and what became of them.",
    ),
    _counter("tiered_generation_bumps_total", "cache tier reason", "Times that what a cache tier held was given up."),
    _counter("tiered_promotions_total", "cache tier result", "Entries from below that were given to a tier."),
    _counter("tiered_evictions_total", "cache tier reason", "Entries that left a tier without being deleted."),
    _gauge("tiered_entries", "cache tier", "Entries held."),
    _gauge("tiered_size_bytes", "cache tier", "Bytes that the entries take."),
    _gauge("tiered_limit_bytes", "cache tier", "Bytes that they may take."),
    _counter("tiered_invalidations_sent_total", "cache tier", "Versions published to the memories of other processes."),
    _counter(
        "tiered_invalidations_received_total", "cache result", "Versions that others, or this process, published."
    ),
    _gauge(
        "tiered_invalidation_connected", "cache", "Whether the subscription to other processes' writes is proven live."
    ),
    _counter(
        "tiered_invalidation_resyncs_total", "cache", "Times that memory started anew because messages may be lost."
    ),
    _histogram(
        "tiered_invalidation_lag_seconds", "cache", "From a heartbeat to its echo: messages are heard within that."
    ),
    _counter("tiered_loads_total", "cache namespace result", "Loaders that were run by get_or_set."),
    _counter("tiered_coalesced_waits_total", "cache namespace", "Calls that waited for another's read or load."),
    _histogram("tiered_load_duration_seconds", "cache", "How long loaders took."),
    _histogram(
        "tiered_stale_read_age_seconds", "cache", "How long ago the expired values that were served had expired."
    ),
    _counter("tiered_repairs_total", "cache tier kind", "Entries that repair mended."),
    _counter("tiered_collect_errors_total", "cache", "Times that a cache could not be looked at for these metrics."),
    _gauge("tiered_tier_info", "cache tier type role position", "1 for each tier of a chain, fastest first."),
    _gauge("tiered_build_info", "version python", "1; the version of tiered that this process runs."),
)

Value = float | Histogram
"""What a sample is made of; a histogram is one of ours."""
