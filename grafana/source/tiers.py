"""What each tier does."""

from __future__ import annotations

from grafana.source.dashboard import Dashboard, Panel, Row
from grafana.source.queries import of_role, quantile, rate, ratio, total

TIERS = Dashboard(
    name="tiers",
    title="Tiers",
    description="What each tier is asked, what it answers and how fast: where to look when the overview says that something is slow.",
    rows=(
        Row(
            title="Answers",
            panels=(
                Panel(
                    title="Hit ratio",
                    description="Of the keys that a tier was asked for, the share that it had. A tier that is away is not asked.",
                    unit="percentunit",
                    maximum=1,
                    queries=(
                        (
                            ratio(
                                rate("tiered_tier_reads_total", 'result="hit"', "tier"),
                                rate("tiered_tier_reads_total", 'result=~"hit|miss"', "tier"),
                            ),
                            "{{tier}}",
                        ),
                    ),
                ),
                Panel(
                    title="Keys asked for",
                    description="Per tier and result. Skipped: the breaker was open, or the tier owes the key, so it was not asked.",
                    unit="reqps",
                    queries=((rate("tiered_tier_reads_total", by="tier, result"), "{{tier}} {{result}}"),),
                ),
                Panel(
                    title="Time to answer, 99th percentile",
                    description="How long a tier took to answer or to fail. Redis fails within its timeouts, by default 0.1 s.",
                    unit="s",
                    queries=(
                        (quantile(0.99, "tiered_tier_operation_duration_seconds", by="tier, op"), "{{tier}} {{op}}"),
                    ),
                ),
                Panel(
                    title="Time to answer, median",
                    description="The same, for the call in the middle.",
                    unit="s",
                    queries=(
                        (quantile(0.5, "tiered_tier_operation_duration_seconds", by="tier, op"), "{{tier}} {{op}}"),
                    ),
                ),
                Panel(
                    title="Errors",
                    description="Failures by kind. They fail no caller of a cache tier; in the store of record each is a call that raised.",
                    unit="ops",
                    queries=((rate("tiered_tier_errors_total", by="tier, error"), "{{tier}} {{error}} errors"),),
                ),
                Panel(
                    title="Bytes",
                    description="Stored entries read from each tier, and written to it.",
                    unit="Bps",
                    queries=(
                        (rate("tiered_tier_read_bytes_total", by="tier"), "{{tier}} read"),
                        (rate("tiered_tier_written_bytes_total", by="tier"), "{{tier}} written"),
                    ),
                ),
            ),
        ),
        Row(
            title="Entries",
            panels=(
                Panel(
                    title="Entries in memory",
                    description="In the memory of all processes.",
                    unit="short",
                    queries=((total("tiered_entries", by="tier"), "{{tier}}"),),
                ),
                Panel(
                    title="Evictions",
                    description="Why entries left a tier without being deleted. Many by size: give memory more (max_entries, max_bytes).",
                    unit="ops",
                    queries=((rate("tiered_evictions_total", by="tier, reason"), "{{tier}} {{reason}}"),),
                ),
                Panel(
                    title="Promotions",
                    description="Entries from below that were given to a faster tier. Superseded: it held something newer by then, as it should.",
                    unit="ops",
                    queries=((rate("tiered_promotions_total", by="tier, result"), "{{tier}} {{result}}"),),
                ),
                Panel(
                    title="Reads that fell through to the store of record",
                    description="The load that the record carries. It rises when Redis is away or empty.",
                    unit="percentunit",
                    maximum=1,
                    queries=((ratio(of_role("tiered_reads_total", "record"), rate("tiered_reads_total")), "record"),),
                ),
            ),
        ),
        Row(
            title="Loads (get_or_set)",
            panels=(
                Panel(
                    title="Loaders run",
                    description="Stored, overtaken by a write, or raised. One loader runs per key at a time in all processes.",
                    unit="ops",
                    queries=((rate("tiered_loads_total", by="result"), "{{result}}"),),
                ),
                Panel(
                    title="Time of loaders",
                    description="How long the bot's own loaders took.",
                    unit="s",
                    queries=(
                        (quantile(0.5, "tiered_load_duration_seconds"), "median"),
                        (quantile(0.99, "tiered_load_duration_seconds"), "99th percentile"),
                    ),
                ),
                Panel(
                    title="Calls that waited for another's",
                    description="Reads and loads that were saved because one like it was under way.",
                    unit="ops",
                    queries=((rate("tiered_coalesced_waits_total"), "waits"),),
                ),
                Panel(
                    title="Age of stale values served",
                    description="How long ago values had expired that stale_ttl allowed to be served, 90th percentile.",
                    unit="s",
                    queries=((quantile(0.9, "tiered_stale_read_age_seconds"), "age"),),
                ),
            ),
        ),
    ),
)
