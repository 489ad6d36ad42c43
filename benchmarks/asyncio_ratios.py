"""The asyncio API against its peers, interleaved in one run; prints ratios (median of the rounds, min to max).

make bench            (needs redis-server; the peers come with the extra `bench`)

Each peer runs in the same loop, over the same server. Values vary, since SQLite skips identical overwrites.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiocache
import redis
import redis.asyncio
from cashews import Cache

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.figures import report, turns
from benchmarks.machine import fsync_ms
from benchmarks.ratios import bare, over
from tests.servers import RedisServer
from tiered import AsyncTieredBackend, FileTier, MemoryTier, RedisTier, TieredBackend

VALUE = "v" * 250
HUNDRED = [f"many:{n}" for n in range(100)]
Timed = Callable[[], Awaitable[float]]


async def compare(name: str, asked: float | None, ours: Timed, peer: Timed, *, least: bool = False) -> None:
    """Run both in turns and print the ratio; `least`: it is to be at least what was asked."""
    await ours(), await peer()
    report(name, asked, [(await ours(), await peer()) for _ in turns(7)], least=least)


def tasks(call: Callable[[int], Awaitable[object]], count: int, number: int = 1) -> Timed:
    """Wall seconds per operation of `count` calls, made by `number` tasks."""

    async def work(start: int) -> None:
        for n in range(start, count, number):
            await call(n)

    async def run() -> float:
        began = time.perf_counter()
        await asyncio.gather(*(work(start) for start in range(number)))
        return (time.perf_counter() - began) / count

    return run


def hits(get: Callable[[str], Awaitable[object]], order: list[str]) -> Timed:
    """Wall seconds per awaited `get`, with nothing but the loop around it."""

    async def run() -> float:
        began = time.perf_counter()
        for key in order:
            await get(key)
        return (time.perf_counter() - began) / len(order)

    return run


def blocking(call: Callable[[], object], count: int) -> Timed:
    """Wall seconds per `call`, none of them awaited."""

    async def run() -> float:
        began = time.perf_counter()
        for _ in range(count):
            call()
        return (time.perf_counter() - began) / count

    return run


async def memory() -> None:
    keys = [f"key:{n}" for n in range(10_000)]
    order = random.Random(1).choices(keys, k=20_000)
    store, cashews, aio = AsyncTieredBackend([MemoryTier()]), Cache(), aiocache.Cache(aiocache.Cache.MEMORY)
    cashews.setup("mem://", size=100_000)
    for kind, value, limits in (("str", VALUE, (0.13, 0.035)), ("dict", {"a": 1, "b": "text"}, (0.18, 0.05))):
        for key in keys:
            await store.set(key, value)
            await cashews.set(key, value, expire=3600)
            await aio.set(key, value, ttl=3600)
        few = order[:4000]
        await compare(f"memory hit, {kind} / cashews", limits[0], hits(store.get, order), hits(cashews.get, few))
        await compare(f"memory hit, {kind} / aiocache", limits[1], hits(store.get, order), hits(aio.get, few))
    await store.close()
    await cashews.close()


async def redis_reads(server: RedisServer, directory: Path) -> None:
    keys = [f"key:{n}" for n in range(2000)]
    tiers = [RedisTier(server.url, timeout=5.0, connect_timeout=5.0), FileTier(directory / "reads")]
    plain = TieredBackend(tiers, namespace="reads")
    store, client = AsyncTieredBackend.over(plain), redis.asyncio.Redis.from_url(server.url)
    await store.set_many(dict.fromkeys(keys, "v" * 50))
    await client.mset(dict.fromkeys(keys, "v" * 50))
    assert (await store.lookup(keys[0])).tier == "redis"
    for number, limit in ((64, 0.20), (8, 0.45), (1, 1.5)):
        count = 6400 if number > 1 else 1500
        ours = tasks(lambda n: store.get(keys[n % 2000]), count, number)
        peer = tasks(lambda n: client.get(keys[n % 2000]), count, number)
        await compare(f"read from Redis by {number} tasks / redis.asyncio", limit, ours, peer)
    for threads in (16, 64):

        async def ours_threads(threads: int = threads) -> float:
            return await asyncio.to_thread(over(keys[:100], plain.get, threads))

        blocking_client = redis.Redis.from_url(server.url)

        async def peer_threads(threads: int = threads, get: Any = blocking_client.get) -> float:
            return await asyncio.to_thread(over(keys[:100], get, threads))

        await compare(f"read from Redis by {threads} threads / redis.Redis.get", None, ours_threads, peer_threads)
        blocking_client.close()
    await client.aclose()
    await store.close()


async def batches(server: RedisServer, directory: Path) -> None:
    client = redis.Redis.from_url(server.url)
    memory = MemoryTier()
    tiers = [memory, RedisTier(server.url, timeout=5.0, connect_timeout=5.0), FileTier(directory / "batches")]
    plain = TieredBackend(tiers, namespace="batches")
    bare_memory = TieredBackend([*tiers[1:]], namespace="batches")  # the same, with nothing above Redis
    plain.set_many(dict.fromkeys(HUNDRED, "v" * 50))
    client.mset(dict.fromkeys(HUNDRED, "v" * 50))
    bare_memory.get_many(HUNDRED)
    mget = blocking(lambda: client.mget(HUNDRED), 100)
    await compare(
        "get_many of 100 from Redis / bare MGET", 1.4, blocking(lambda: bare_memory.get_many(HUNDRED), 100), mget
    )

    def promoting() -> None:
        with memory.lock:
            memory.empty(plain._core.space.part)
        plain.get_many(HUNDRED)

    await compare("the same with promotion to memory / bare MGET", 1.8, blocking(promoting, 100), mget)
    connection = bare(directory)
    upsert = "INSERT INTO t VALUES (?, ?) ON CONFLICT DO UPDATE SET v = excluded.v"

    def row_and_pipeline() -> None:
        rows = [(key, os.urandom(150) + b"v" * 150) for key in HUNDRED]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(upsert, rows)
        connection.execute("COMMIT")
        pipeline = client.pipeline(transaction=False)
        for key, value in rows:
            pipeline.set(key, value, px=3_600_000)
        pipeline.execute()

    def set_many() -> None:
        plain.set_many({key: f"{time.perf_counter_ns()}{VALUE}" for key in HUNDRED}, ttl=3600)

    name = "set_many of 100, three tiers / bare transaction + pipeline"
    await compare(name, 1.3, blocking(set_many, 20), blocking(row_and_pipeline, 20))
    plain.close()
    bare_memory.close()
    connection.close()
    client.close()


async def durable_sets(server: RedisServer, directory: Path) -> None:
    tiers = [MemoryTier(), RedisTier(server.url, timeout=5.0, connect_timeout=5.0), FileTier(directory / "sets")]
    store = AsyncTieredBackend(tiers, namespace="sets")

    async def put(n: int) -> object:
        return await store.set(f"key:{n}", f"{time.perf_counter_ns()}{VALUE}")

    one, many = tasks(put, 150), tasks(put, 3200, 64)
    await compare("durable sets a second, three tiers: 64 tasks / 1", 8.0, one, many, least=True)
    await store.close()


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="tiered-bench-") as name:
        directory = Path(name)
        server = RedisServer()
        try:
            print(f"bare fdatasync: {fsync_ms(directory):.2f} ms")
            await memory()
            await redis_reads(server, directory)
            await durable_sets(server, directory)
            await batches(server, directory)
        finally:
            server.stop()


if __name__ == "__main__":
    asyncio.run(main())
