"""Increments of one key by many at once, durably, against those of a lone caller and of diskcache's `incr`.

python -m benchmarks --parts one_key
"""

from __future__ import annotations

import asyncio
import tempfile
import time

import diskcache

from benchmarks.figures import report, turns
from benchmarks.ratios import Timed, compare, timed
from tiered import AsyncTieredBackend, FileTier, MemoryTier, TieredBackend

CALLS, FEW = 960, 160


def by_tasks(store: TieredBackend, tasks: int, calls: int) -> Timed:
    """Wall seconds per call of `calls` increments by `tasks` at once."""

    async def work() -> None:
        backend = AsyncTieredBackend.over(store)

        async def several() -> None:
            for _ in range(calls // tasks):
                await backend.increment("n")

        await asyncio.gather(*(several() for _ in range(tasks)))

    def run() -> float:
        start = time.perf_counter()
        asyncio.run(work())
        return (time.perf_counter() - start) / calls

    return run


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="tiered-bench-") as directory:
        peer = diskcache.Cache(f"{directory}/diskcache", sqlite_synchronous=2)
        with TieredBackend([MemoryTier(), FileTier(f"{directory}/tiered")]) as store:
            lone = timed(lambda _: store.increment("n"), FEW)
            sixteen = timed(lambda _: store.increment("n"), CALLS, 16)
            compare("increment of one key, 16 threads, of a lone caller's", None, sixteen, lone)
            theirs = timed(lambda _: peer.incr("n"), FEW, 16)
            compare("the same, of diskcache FULL incr with 16 threads", None, sixteen, theirs)
            pairs = [(by_tasks(store, 64, CALLS)(), by_tasks(store, 1, FEW)()) for _ in turns(7)]
            report("increment of one key, 64 tasks, of a lone task's", None, pairs)
        peer.close()
