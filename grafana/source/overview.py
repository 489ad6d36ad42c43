"""Is my bot fine?"""

from __future__ import annotations

from functools import partial

from grafana.source.dashboard import RED, Dashboard, Panel, Row
from grafana.source.queries import largest, of_role, quantile, rate, ratio, share, smallest, total
from tiered.observability.operation import WRITE_OPS

OPERATIONS = "tiered_operations_total"
WRITES = f'op=~"{"|".join(WRITE_OPS)}"'

_stat = partial(Panel, kind="stat", width=4, height=5)
"""One number, six of them in a row."""

OVERVIEW = Dashboard(
    name="overview",
    title="Overview",
    description="Is my bot fine? One look: are reads answered, how fast, by whom, and does anything wait to be repaired.",
    rows=(
        Row(
            title="Now",
            panels=(
                _stat(
                    title="Cache tiers",
                    description="Whether every cache tier of every process is in service. While one is not, answers come from the tiers below.",
                    unit="short",
                    queries=((smallest("tiered_breaker_state", 'state="closed"'), "in service"),),
                    values={"0": ("degraded", "orange"), "1": ("all in service", "green")},
                ),
                _stat(
                    title="Reads that failed",
                    description="Share of reads that raised, because the store of record could not answer. It should be 0.",
                    unit="percentunit",
                    queries=((share("tiered_reads_total", 'result="error"'), "error"),),
                    limits=((None, "green"), (0.0001, RED)),
                ),
                _stat(
                    title="Writes that failed",
                    description="Share of writes that raised, because the store of record did not take them. It should be 0.",
                    unit="percentunit",
                    queries=(
                        (ratio(rate(OPERATIONS, f'{WRITES}, result="error"'), rate(OPERATIONS, WRITES)), "error"),
                    ),
                    limits=((None, "green"), (0.0001, RED)),
                ),
                _stat(
                    title="Reads",
                    description="Keys read per second, from whatever tier.",
                    unit="reqps",
                    queries=((rate("tiered_reads_total"), "reads"),),
                    limits=((None, "blue"),),
                ),
                _stat(
                    title="Answered by memory",
                    description="Share of keys read that this process' own memory answered, without any I/O.",
                    unit="percentunit",
                    queries=((ratio(of_role("tiered_reads_total", "memory"), rate("tiered_reads_total")), "memory"),),
                    limits=((None, "blue"),),
                    maximum=1,
                ),
                _stat(
                    title="Waiting for replay",
                    description="Keys that a cache tier missed and will be given when it is back. They are durable already.",
                    unit="short",
                    queries=((f"sum ({largest('tiered_replay_pending', by='cache, tier')})", "keys"),),
                    limits=((None, "green"), (1000, "orange")),
                ),
            ),
        ),
        Row(
            title="Traffic",
            panels=(
                Panel(
                    title="Reads by the tier that answered",
                    description="Who answers. When Redis is away its share moves to the store of record; errors are reads that nobody answered.",
                    unit="reqps",
                    stacked=True,
                    queries=(
                        (rate("tiered_reads_total", 'result!="error"', "tier"), "{{tier}}"),
                        (rate("tiered_reads_total", 'result="error"'), "error"),
                    ),
                ),
                Panel(
                    title="Operations by result",
                    description="Reads below memory, and writes. Degraded: acknowledged and durable, and queued for a tier that was away.",
                    unit="ops",
                    queries=((rate("tiered_operations_total", by="result"), "{{result}}"),),
                ),
                Panel(
                    title="Latency, 99th percentile",
                    description="How long operations took that memory alone did not answer. Hits in memory take less than a microsecond and are not timed.",
                    unit="s",
                    queries=((quantile(0.99, "tiered_operation_duration_seconds", by="op"), "{{op}}"),),
                ),
                Panel(
                    title="Latency, median",
                    description="The same, for the operation in the middle.",
                    unit="s",
                    queries=((quantile(0.5, "tiered_operation_duration_seconds", by="op"), "{{op}}"),),
                ),
            ),
        ),
        Row(
            title="Namespaces and memory",
            panels=(
                Panel(
                    title="Reads by namespace",
                    description="Keys read per second in each namespace; past 50 of them the rest is added up.",
                    unit="reqps",
                    queries=((rate("tiered_reads_total", by="namespace"), "{{namespace}}"),),
                ),
                Panel(
                    title="Memory used",
                    description="Bytes that entries take in the memory of all processes, and how many they may take.",
                    unit="bytes",
                    queries=(
                        (total("tiered_size_bytes", by="tier"), "{{tier}}"),
                        (total("tiered_limit_bytes"), "limit"),
                    ),
                ),
            ),
        ),
    ),
)
