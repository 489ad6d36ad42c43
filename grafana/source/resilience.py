"""What happens when a tier is away, and after."""

from __future__ import annotations

from grafana.source.dashboard import RED, Dashboard, Panel, Row
from grafana.source.queries import largest, quantile, rate, ratio, select, smallest

RESILIENCE = Dashboard(
    name="resilience",
    title="Resilience",
    description="What happens when a tier is away, and after: breakers, debts, replay, generations, and what processes tell each other.",
    rows=(
        Row(
            title="Breakers",
            panels=(
                Panel(
                    title="In service",
                    description="Whether processes use a cache tier. The breaker opens after failures; a probe in the background closes it again after everything owed was replayed.",
                    unit="short",
                    kind="state-timeline",
                    queries=(
                        (smallest("tiered_breaker_state", 'state="closed"', "cache, tier"), "{{cache}} {{tier}}"),
                    ),
                    values={"0": ("out of service", "orange"), "1": ("in service", "green")},
                ),
                Panel(
                    title="Time out of service",
                    description="Share of time that a cache tier was out of service, over all processes. The running outage counts.",
                    unit="percentunit",
                    maximum=1,
                    queries=(
                        (
                            f"avg by (tier) (rate({select('tiered_tier_unavailable_seconds_total')}[$__rate_interval]))",
                            "{{tier}}",
                        ),
                    ),
                ),
                Panel(
                    title="Transitions",
                    description="How often breakers entered a state. Open and half open in turns: probes fail. Closed again and again: the tier flaps.",
                    unit="ops",
                    queries=((rate("tiered_breaker_transitions_total", by="tier, to"), "{{tier}} to {{to}}"),),
                ),
                Panel(
                    title="Served while a tier was away",
                    description="Writes that are durable, and queued for the cache tier that did not take them; and reads answered from above a store of record that could not be asked (serve_unproven).",
                    unit="ops",
                    queries=(
                        (rate("tiered_operations_total", 'result="degraded"', "op"), "{{op}}"),
                        (rate("tiered_unproven_reads_total"), "unproven reads"),
                    ),
                ),
            ),
        ),
        Row(
            title="Replay",
            panels=(
                Panel(
                    title="Keys owed",
                    description="Keys that a tier missed and will be given when it is back.",
                    unit="short",
                    width=6,
                    queries=((largest("tiered_replay_pending", by="cache, tier"), "{{cache}} {{tier}}"),),
                ),
                Panel(
                    title="Capacity used",
                    description="Of the keys that are counted. Beyond it a tier is not given what it missed, but starts empty.",
                    unit="percentunit",
                    width=6,
                    maximum=1,
                    queries=(
                        (
                            ratio(
                                largest("tiered_replay_pending", by="cache, tier"),
                                smallest("tiered_replay_capacity", by="cache, tier"),
                            ),
                            "{{cache}} {{tier}}",
                        ),
                    ),
                ),
                Panel(
                    title="Age of the oldest debt",
                    description="It grows during an outage and must fall to 0 within seconds after it.",
                    unit="s",
                    queries=((largest("tiered_replay_oldest_age_seconds", by="cache, tier"), "{{cache}} {{tier}}"),),
                ),
                Panel(
                    title="Replayed writes",
                    description="Superseded: the tier had something newer by then. Dropped: the tier starts empty instead; nothing is lost.",
                    unit="ops",
                    queries=((rate("tiered_replay_writes_total", by="result"), "{{result}}"),),
                ),
                Panel(
                    title="New generations",
                    description="Times that everything a cache tier held was given up: after a restart of its server, an overflow, or clear().",
                    unit="ops",
                    queries=((rate("tiered_generation_bumps_total", by="tier, reason"), "{{tier}} {{reason}}"),),
                ),
            ),
        ),
        Row(
            title="Coherence",
            panels=(
                Panel(
                    title="Subscription",
                    description="Whether processes hear what others write. While they do not, memory asks again after the staleness bound.",
                    unit="short",
                    kind="state-timeline",
                    queries=((smallest("tiered_invalidation_connected", by="cache"), "{{cache}}"),),
                    values={"0": ("silent", "orange"), "1": ("live", "green")},
                ),
                Panel(
                    title="Invalidations",
                    description="Versions published, and heard. Stale: this memory held nothing older, as with one's own writes.",
                    unit="ops",
                    queries=(
                        (rate("tiered_invalidations_sent_total"), "sent"),
                        (rate("tiered_invalidations_received_total", by="result"), "received, {{result}}"),
                    ),
                ),
                Panel(
                    title="Time until heard",
                    description="From a heartbeat to its echo: every message sent before it was heard within that time.",
                    unit="s",
                    queries=(
                        (quantile(0.5, "tiered_invalidation_lag_seconds"), "median"),
                        (quantile(0.99, "tiered_invalidation_lag_seconds"), "99th percentile"),
                    ),
                ),
                Panel(
                    title="Memory started anew",
                    description="Times that messages may have been lost, so that memory was emptied.",
                    unit="ops",
                    queries=((rate("tiered_invalidation_resyncs_total"), "resyncs"),),
                ),
            ),
        ),
        Row(
            title="Repair and observation",
            panels=(
                Panel(
                    title="Repairs",
                    description="Entries that repair() mended, by what was wrong with them. It should be 0: tiers agree by themselves.",
                    unit="ops",
                    queries=((rate("tiered_repairs_total", by="tier, kind"), "{{tier}} {{kind}}"),),
                ),
                Panel(
                    title="Metrics that could not be read",
                    description="Caches that failed when they were looked at for these metrics. It should be 0; the log has the reason.",
                    unit="ops",
                    queries=((rate("tiered_collect_errors_total"), "errors"),),
                    limits=((None, "green"), (0.001, RED)),
                ),
            ),
        ),
    ),
)
