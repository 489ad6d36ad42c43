"""The collector: every metric, from the first moment, about what happened, and nothing that can break a scrape."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest

from tests.observability.conftest import Start
from tests.observability.exported import Exported
from tests.prometheus import ROOT, promtool
from tests.waiting import LIMIT, eventually, started
from tiered import AsyncTieredBackend, FileTier, MemoryTier, NotApplied, RedisTier, StoreUnavailable, TieredBackend
from tiered.observability.catalog import CATALOG
from tiered.observability.histogram import BOUNDS, Histogram
from tiered.observability.metrics import COLLECTOR, install
from tiered.observability.operation import READ_OPS, WRITE_OPS
from tiered.observability.readings import OTHERS
from tiered.replication.breaker import State

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[TieredBackend]:
    """Three tiers that nobody has used yet."""
    with TieredBackend([MemoryTier(), RedisTier(NOWHERE), FileTier(tmp_path / "idle")], name="idle") as store:
        yield store


def test_every_label_set_starts_at_zero(idle: TieredBackend, exported: Exported) -> None:
    """A counter that appears with its first error has no rate for it."""
    before = exported.series()
    idle.set("k", 1)
    idle.get("k")
    idle.get("other")
    idle.get_many(["k", "another"])
    with suppress(LookupError):
        idle.get_or_set("failing", lambda: {}["nothing"], stale_ttl=5)
    after = exported.series()
    news = {name for name, labels in set(after) - set(before) if ("cache", "idle") in labels}
    assert news <= {"tiered_invalidation_connected"}  # which is unknown before the first use
    assert {
        value for (name, labels), value in before.items() if name.endswith("_total") and ("cache", "idle") in labels
    } == {0}


def test_every_metric_of_the_catalog_is_exported(start: Start, exported: Exported) -> None:
    process = start(record=None)
    process.store._core.chain.coherence_stats.wanted = process.store._core.chain.coherence_stats.started = True
    names = {re.sub("_(bucket|sum|count)$", "", name) for name, _ in exported.series()}
    assert {it.name for it in CATALOG} <= names


def test_the_page_lists_what_is_exported() -> None:
    page = (ROOT / "docs/metrics.md").read_text()
    rows = re.findall(r"(?m)^\| `(tiered_\w+)` \| (\w+) \| ([^|]*) \|", page)
    assert rows == [(it.name, it.kind, ", ".join(it.labels)) for it in CATALOG]


def test_names_and_helps_are_as_prometheus_wants_them(idle: TieredBackend, exported: Exported) -> None:
    checked = promtool("check", "metrics", text=generate_latest(exported.registry).decode())
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_a_registry_refuses_another_metric_of_these_names_and_takes_ours_once() -> None:
    registry = CollectorRegistry()
    install(registry)
    install(registry)
    with pytest.raises(ValueError, match="Duplicated"):
        Counter("tiered_reads", "mine", registry=registry)
    assert all(not family.samples for family in COLLECTOR.describe())


class Slow(CollectorRegistry):
    """In the time that it takes another thread comes by."""

    def register(self, collector: Any) -> None:
        time.sleep(0.01)
        super().register(collector)


def test_threads_that_install_at_once_install_once() -> None:
    registry = Slow()
    for it in [started(lambda: install(registry)) for _ in range(4)]:
        it.result(LIMIT)


def test_reads_are_counted_by_what_answered(start: Start, exported: Exported) -> None:
    a, b = start(), start()
    a.store.set("k", 1)
    a.store.get("k")
    a.store.get_many(["k", "absent"])
    b.store.get("k")
    b.look(2)
    reads: dict[str, Any] = {"namespace": "default", "name": "tiered_reads_total"}
    assert exported.value(cache="default", result="hit", tier="memory", **reads) == 2
    assert exported.value(cache="default", result="miss", tier="file", **reads) == 1
    assert (
        exported.value(cache="default-2", result="hit", tier="cache", **reads)
        + exported.value(cache="default-2", result="hit", tier="file", **reads)
        == 1
    )
    assert exported.value("tiered_tier_reads_total", cache="default", tier="memory", result="miss") == 1
    assert exported.value("tiered_operations_total", cache="default", op="set", result="ok") == 1
    assert exported.value("tiered_operation_duration_seconds_count", cache="default", op="set") == 1
    assert (
        exported.value("tiered_tier_operation_duration_seconds_count", cache="default", tier="file", op="commit") == 1
    )
    assert exported.value("tiered_tier_written_bytes_total", cache="default", tier="file") > 0


def test_a_tier_that_is_cut_off_is_to_be_seen_and_its_return_too(start: Start, exported: Exported) -> None:
    a = start()
    a.store.set("k", 0)
    a.cache.cut_off()
    for n in range(6):
        a.store.set(f"k{n}", n)
    tier = {"cache": "default", "tier": "cache"}
    assert exported.value("tiered_breaker_state", state="open", **tier) == 1
    assert exported.value("tiered_breaker_state", **tier) == 1
    assert exported.value("tiered_operations_total", cache="default", op="set", result="degraded") == 6
    assert exported.value("tiered_tier_errors_total", op="put", error="connection", **tier) == 5
    assert exported.value("tiered_replay_pending", **tier) == 6
    assert exported.value("tiered_replay_writes_total", result="queued", **tier) == 6
    a.clock.advance(7)
    assert exported.value("tiered_replay_oldest_age_seconds", **tier) == 7
    assert exported.value("tiered_tier_unavailable_seconds_total", **tier) == 7
    a.cache.reconnect()
    a.readmit()
    assert exported.value("tiered_breaker_state", state="closed", **tier) == 1
    assert exported.value("tiered_replay_pending", **tier) == 0
    assert exported.value("tiered_replay_oldest_age_seconds", **tier) == 0
    assert exported.value("tiered_replay_writes_total", result="applied", **tier) == 6
    assert exported.value("tiered_breaker_transitions_total", to="closed", **tier) == 1
    away = exported.value("tiered_tier_unavailable_seconds_total", **tier)
    a.clock.advance(100)
    assert exported.value("tiered_tier_unavailable_seconds_total", **tier) == away == 67


def test_writes_past_the_capacity_are_counted_as_dropped(start: Start, exported: Exported) -> None:
    a = start()
    a.store.set("k", 0)
    a.guard.owed.limit = 3
    a.cache.cut_off()
    a.store.set_many({f"k{n}": n for n in range(10)})
    tier = {"cache": "default", "tier": "cache"}
    assert exported.value("tiered_replay_writes_total", result="dropped", **tier) == 10
    for n in range(10):  # that reads go on to pass the tier drops nothing more
        a.store.get(f"k{n}")
        a.store.get("absent")
    assert exported.value("tiered_replay_writes_total", result="dropped", **tier) == 10
    assert exported.value("tiered_replay_pending", **tier) == exported.value("tiered_replay_capacity", **tier) == 3
    a.cache.reconnect()
    a.readmit()
    assert exported.value("tiered_generation_bumps_total", reason="marks_lost", **tier) == 1
    assert exported.value("tiered_replay_pending", **tier) == 0


def test_a_server_that_restarted_is_a_new_generation(start: Start, exported: Exported) -> None:
    a = start()
    a.store.set("k", 0)
    assert exported.value("tiered_generation_bumps_total", cache="default") == 0  # meeting it first is none
    a.cache.cut_off()
    for _ in range(5):
        a.store.set("k", 1)
    a.cache.server.run = "run 2"
    a.cache.reconnect()
    a.readmit()
    assert exported.value("tiered_generation_bumps_total", cache="default", tier="cache", reason="server_changed") == 1
    a.store.clear()
    assert exported.value("tiered_generation_bumps_total", cache="default", tier="file", reason="clear") == 1


def test_reads_that_raise_are_errors(tmp_path: Path, exported: Exported) -> None:
    tier = FileTier(tmp_path / "store")
    with TieredBackend([MemoryTier(), tier]) as store:
        store.set("k", 1)

        def fail(*_: Any) -> Any:
            raise StoreUnavailable("the disk is gone", tier="file")

        tier.read = tier.read_many = fail  # type: ignore[method-assign]
        for read in (lambda: store.get("absent"), lambda: store.get_many(["a", "b"])):
            with pytest.raises(StoreUnavailable):
                read()
        assert exported.value("tiered_reads_total", cache="default", result="error", tier="none") == 3
        assert exported.value("tiered_operations_total", cache="default", op="get", result="error") == 1
        assert exported.value("tiered_operations_total", cache="default", op="get_many", result="error") == 1
        assert exported.value("tiered_tier_reads_total", cache="default", tier="file", result="error") == 3
        assert exported.value("tiered_tier_errors_total", cache="default", tier="file", error="other") == 2


def test_loads_are_counted_and_timed(tmp_path: Path, exported: Exported) -> None:
    with TieredBackend([MemoryTier(), FileTier(tmp_path / "store")]) as store:
        store.get_or_set("k", lambda: 1)
        with pytest.raises(ZeroDivisionError):
            store.get_or_set("other", lambda: 1 // 0)
        store.get_or_set("deleted", lambda: store.delete("deleted"))
        loads: dict[str, str] = {"name": "tiered_loads_total", "cache": "default", "namespace": "default"}
        assert [exported.value(result=it, **loads) for it in ("stored", "error", "overtaken")] == [1, 1, 1]
        assert exported.value("tiered_load_duration_seconds_count", cache="default") == 3


@pytest.mark.parametrize(("options", "most"), [({}, 50), ({"metric_namespaces": 3}, 3)])
def test_series_are_bounded_whatever_namespaces_there_are(
    options: dict[str, int], most: int, exported: Exported, tmp_path: Path
) -> None:
    with TieredBackend([MemoryTier(), FileTier(tmp_path / "store")], name="many", **options) as store:  # type: ignore[arg-type]
        for n in range(most + 30):
            store.namespace(f"n{n}").set("k", n)
            store.namespace(f"n{n}").get("k")
        reads = [
            dict(labels)
            for name, labels in exported.series()
            if name == "tiered_reads_total" and ("cache", "many") in labels
        ]
        assert len({it["namespace"] for it in reads}) == most + 1
        assert exported.value("tiered_reads_total", cache="many", namespace=OTHERS, result="hit", tier="memory") == 31
        assert exported.value("tiered_reads_total", cache="many", result="hit", tier="memory") == most + 30


def test_two_stores_of_one_name_are_told_apart_and_a_closed_one_is_not_exported(
    tmp_path: Path, exported: Exported
) -> None:
    def caches() -> set[str]:
        return {dict(labels)["cache"] for name, labels in exported.series() if name == "tiered_tier_info"}

    first = TieredBackend([MemoryTier()], name="twin")
    second = TieredBackend([MemoryTier()], name="twin")
    assert {"twin", "twin-2"} <= caches()
    first.close()
    assert "twin" not in caches() and "twin-2" in caches()
    third = TieredBackend([MemoryTier()], name="twin")
    assert {"twin", "twin-2"} <= caches()
    second.close()
    third.close()


def test_being_exported_keeps_nothing_alive(exported: Exported) -> None:
    store = TieredBackend([MemoryTier()], name="forgotten")
    assert exported.value("tiered_tier_info", cache="forgotten") == 1
    del store
    gc.collect()
    assert not [labels for _, labels in exported.series() if ("cache", "forgotten") in labels]


def test_a_store_that_fails_to_be_looked_at_fails_no_scrape(
    idle: TieredBackend, exported: Exported, caplog: pytest.LogCaptureFixture
) -> None:
    with TieredBackend([MemoryTier()], name="well") as well:
        well.set("k", 1)
        del idle._core.chain.guards[0].name  # what a third party's tier may lack
        before = exported.value("tiered_collect_errors_total", cache="idle")
        assert exported.value("tiered_collect_errors_total", cache="idle") == before + 1 > 1
        assert exported.value("tiered_operations_total", cache="well", op="set") == 1
        assert caplog.text.count("cannot be read") == 1
        idle._core.chain.guards[0].name = "redis"


def test_a_scrape_does_no_io_and_waits_for_nobody(
    idle: TieredBackend, exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("I/O in a scrape")

    idle.set("k", 1)
    before = exported.value("tiered_collect_errors_total", cache="idle")
    for tier in idle._core.service.tiers:
        for method in ("read", "read_many", "health", "probe", "generation", "get", "get_many", "count"):
            if hasattr(tier, method):
                monkeypatch.setattr(tier, method, refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    with idle._core.chain.memory.lock:  # whoever holds it may be slow
        assert exported.value("tiered_collect_errors_total", cache="idle") == before
        assert exported.value("tiered_entries", cache="idle") == 1


def test_a_child_after_a_fork_counts_from_zero(idle: TieredBackend, exported: Exported) -> None:
    idle.set("k", 1)
    idle.get("k")
    reader, writer = os.pipe()
    if not (pid := os.fork()):
        values = [
            it
            for (name, its), it in exported.series().items()
            if name.endswith(("_total", "_count")) and ("cache", "idle") in its
        ]
        os.write(writer, b"zero" if not any(values) else repr(sum(values)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        assert answer.read() == b"zero"
    os.waitpid(pid, 0)
    assert exported.value("tiered_reads_total", cache="idle", result="hit", tier="memory") == 1


def test_a_histogram_puts_each_duration_into_its_bucket() -> None:
    it = Histogram()
    for seconds in (0.0, 10e-6, 11e-6, 0.3, 5.0, 60.0):
        it.observe(seconds)
    assert it.cumulative()[0] == 2 and it.cumulative()[1] == 3  # a bound belongs to its bucket
    assert it.cumulative()[-2:] == [5, 6] and len(it.counts) == len(BOUNDS) + 1
    assert it.plus(it).cumulative()[-1] == 12 and it.plus(it).sum == 2 * it.sum


def test_the_states_that_are_exported_are_the_breakers() -> None:
    assert [str(it) for it in State] == ["closed", "open", "half_open"]


def counts_of(exported: Exported, cache: str) -> dict[str, float]:
    ops = {op: exported.value("tiered_operations_total", cache=cache, op=op) for op in (*READ_OPS, *WRITE_OPS)}
    timed = {f"{op} timed": exported.value("tiered_operation_duration_seconds_count", cache=cache, op=op) for op in ops}
    hits = exported.value("tiered_reads_total", cache=cache, result="hit", tier="memory")
    return {
        **ops,
        **timed,
        "hits": hits,
        "misses": exported.value("tiered_reads_total", cache=cache, result="miss", tier="file"),
    }


def test_operations_of_tasks_are_counted_as_those_of_threads(tmp_path: Path, exported: Exported) -> None:
    calls: list[tuple[str, tuple[Any, ...]]] = [
        ("set", ("k", 1)),
        ("get", ("k",)),
        ("get", ("absent",)),
        ("get_many", (["k", "absent"],)),
        ("set_many", ({"a": 1, "b": 2},)),
        ("add", ("k", 2)),
        ("increment", ("k",)),
        ("delete", ("a",)),
        ("get_or_set", ("loaded", lambda: 3)),
    ]

    async def talk() -> dict[str, float]:
        async with AsyncTieredBackend([MemoryTier(), FileTier(tmp_path / "tasks")], name="tasks") as store:
            for name, arguments in calls:
                await getattr(store, name)(*arguments)
            return counts_of(exported, "tasks")

    with TieredBackend([MemoryTier(), FileTier(tmp_path / "threads")], name="threads") as store:
        for name, arguments in calls:
            getattr(store, name)(*arguments)
        counts = counts_of(exported, "threads")
    operations = {"get": 2, "get_many": 1, "set": 2, "set_many": 1, "add": 1, "update": 1, "delete": 1}
    assert counts == {**operations, **{f"{op} timed": n for op, n in operations.items()}, "hits": 2, "misses": 3}
    assert asyncio.run(talk()) == counts


def test_updates_that_cannot_read_what_they_change_are_errors(exported: Exported) -> None:
    """A bot that only counts would see every call raise, and its metrics none."""
    calls: list[tuple[str, tuple[Any, ...]]] = [
        ("update", ("k", lambda value: value)),
        ("increment", ("k",)),
        ("touch", ("k", 5)),
    ]

    async def talk() -> None:
        async with AsyncTieredBackend([RedisTier(NOWHERE)], name="tasks") as store:
            for name, arguments in calls:
                with pytest.raises(NotApplied):
                    await getattr(store, name)(*arguments)
            assert counted("tasks") == (3, 3, 3)

    def counted(cache: str) -> tuple[float, ...]:
        where = {"cache": cache, "op": "update"}
        return (
            exported.value("tiered_operations_total", result="error", **where),
            exported.value("tiered_operation_duration_seconds_count", **where),
            exported.value("tiered_tier_errors_total", cache=cache, tier="redis", op="read", error="connection"),
        )

    with TieredBackend([RedisTier(NOWHERE)], name="threads") as store:
        for name, arguments in calls:
            with pytest.raises(NotApplied):
                getattr(store, name)(*arguments)
        assert counted("threads") == (3, 3, 3)
    asyncio.run(talk())


def test_writes_that_are_fed_from_the_journal_are_not_degraded(
    tmp_path: Path, redis_url: str, exported: Exported
) -> None:
    tiers = [
        MemoryTier(),
        RedisTier(redis_url, timeout=5.0),
        FileTier(tmp_path / "store"),
    ]  # what is late is not "applied"
    with TieredBackend(tiers, name="fed", feed="journal") as store:
        store.set("k", 1)
        assert exported.value("tiered_operations_total", cache="fed", op="set", result="ok") == 1
        assert exported.value("tiered_operations_total", cache="fed", op="set", result="degraded") == 0
        eventually(lambda: exported.value("tiered_replay_writes_total", cache="fed", result="applied") == 1)
