"""Plain counters lose nothing between threads, as long as nothing is called between reading and writing one."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.prometheus import ROOT
from tests.waiting import LIMIT, started
from tiered.observability.stats import CACHE_OPS, StoreStats, TierStats

SOURCES = sorted((ROOT / "tiered").rglob("*.py"))


def additions(source: str) -> Iterator[tuple[int, str]]:
    """Where something with a call in it is added to an attribute of statistics."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Attribute):
            owner = ast.unparse(node.target.value)
            if ("stats" in owner or owner == "it") and any(isinstance(it, ast.Call) for it in ast.walk(node.value)):
                yield node.lineno, ast.unparse(node)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_called_while_a_counter_is_raised(path: Path) -> None:
    """`stats.bytes += len(frame)` reads, calls, and writes: another thread may come in between, and its counts are gone.

    A counter that falls is a restart to Prometheus: everything that it ever counted is added to the rate.
    """
    source = path.read_text()
    if path.parent.name == "observability":
        source = source.replace("self.", "stats.")
    assert list(additions(source)) == []


def test_threads_lose_no_counts() -> None:
    store, tier, count = StoreStats(), TierStats.of(CACHE_OPS), 3000

    def work() -> None:
        for n in range(count):
            store.found("file", n % 2 == 0)
            store.operations["set"].succeeded(0.001)
            tier.timed("get", n / 1000)
            tier.count_replay([("k", b"frame")], n % 2)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in [started(work) for _ in range(4)]:
            thread.result(LIMIT)
    finally:
        sys.setswitchinterval(interval)
    assert store.hits_below["file"] == store.misses_below["file"] == store.misses == 2 * count
    assert store.operations["set"].ok == store.operations["set"].duration.cumulative()[-1] == 4 * count
    assert tier.durations["get"].cumulative()[-1] == 4 * count
    assert (tier.replayed, tier.replayed_in_vain) == (2 * count, 2 * count)
    assert (tier.told, tier.written_bytes) == (4 * count, 20 * count)
