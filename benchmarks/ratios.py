"""The parts against their bare peers, interleaved in one run; prints ratios (median of the rounds, min to max).

make bench            (needs redis-server; diskcache comes with the extra `bench`)
"""

from __future__ import annotations

import os
import random
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cachetools
import diskcache
import redis

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.figures import report, turns
from benchmarks.machine import fsync_ms
from tests.servers import RedisServer
from tiered import FileTier, MemoryTier, RedisTier, TieredBackend
from tiered.entry import draft, namespace_seed
from tiered.testing.contract import put
from tiered.tiers.base import Write

VALUE = "v" * 250
Timed = Callable[[], float]


def timed(call: Callable[[int], object], count: int, threads: int = 1) -> Timed:
    """Wall seconds per operation of `count` calls, spread over `threads`."""

    def run() -> float:
        def work(number: int) -> None:
            for n in range(number, count, threads):
                call(n)

        workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
        start = time.perf_counter()
        if threads == 1:
            work(0)
        else:
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        return (time.perf_counter() - start) / count

    return run


def compare(name: str, asked: float | None, ours: Timed, peer: Timed) -> None:
    """Run both in turns and print the ratio."""
    report(name, asked, [(ours(), peer()) for _ in turns(7)])


def over(keys: list[str], call: Callable[[str], object], threads: int = 1) -> Timed:
    """Wall seconds per operation of `call` for each key in each of `threads`, with nothing but the loop around it."""

    def work() -> None:
        for key in keys:
            call(key)

    def run() -> float:
        workers = [threading.Thread(target=work) for _ in range(threads)]
        start = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return (time.perf_counter() - start) / len(keys) / threads

    return run


def memory(directory: Path) -> None:
    store = TieredBackend([MemoryTier()])
    peer: cachetools.TTLCache[str, object] = cachetools.TTLCache(100_000, 3600)
    lock = threading.Lock()
    keys = [f"key:{n}" for n in range(10_000)]
    order = random.Random(1).choices(keys, k=50_000)
    for kind, value, limits in (("str", VALUE, (0.20, 0.12)), ("dict", {"a": 1, "b": "text"}, (0.33, 0.20))):
        for key in keys:
            store.set(key, value)
            peer[key] = value

        def locked(key: str) -> object:
            with lock:
                return peer.get(key)

        for threads, limit in zip((1, 4), limits, strict=True):
            name = f"memory hit, {kind}, {threads} threads / TTLCache+Lock"
            compare(name, limit, over(order, store.get, threads), over(order, locked, threads))
    store.close()


def bare(directory: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(directory / "bare.sqlite3", isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE t (k TEXT PRIMARY KEY, v BLOB) WITHOUT ROWID")
    return connection


def file(directory: Path) -> None:
    tier, connection, seed = FileTier(directory / "tier"), bare(directory), namespace_seed("n")
    upsert = "INSERT INTO t VALUES (?, ?) ON CONFLICT DO UPDATE SET v = excluded.v"

    def ours(n: int) -> object:
        key = f"key:{n}"
        value = draft(seed, key, os.urandom(150) + b"v" * 117, 1)
        return tier.commit("n", (Write(key, value),), now=0)

    def one(n: int) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(upsert, (f"key:{n}", os.urandom(150) + b"v" * 150))
        connection.execute("COMMIT")

    compare("durable set, 1 thread / bare transaction", 1.3, timed(ours, 400), timed(one, 400))
    compare("durable set, 16 threads / bare transaction", 0.45, timed(ours, 1600, 16), timed(one, 400))
    peer = diskcache.Cache(str(directory / "diskcache"), sqlite_synchronous=2)
    other = timed(lambda n: peer.set(f"key:{n}", os.urandom(150) + b"v" * 150), 480, 16)
    compare("durable set, 16 threads / diskcache FULL", 0.035, timed(ours, 1600, 16), other)
    peer.close()
    store = TieredBackend([MemoryTier(), tier])
    many = [f"many:{n}" for n in range(100)]

    def hundred(_: int) -> None:
        rows = [(key, os.urandom(150) + b"v" * 150) for key in many]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(upsert, rows)
        connection.execute("COMMIT")

    ours_many = timed(lambda n: store.set_many({key: f"{n}{time.perf_counter_ns()}" + VALUE for key in many}), 40)
    compare("set_many of 100 / bare transaction of 100", 1.3, ours_many, timed(hundred, 40))
    keys = [f"key:{n}" for n in range(4000)]
    connection.executemany(upsert, [(key, b"v" * 300) for key in keys])
    store.set_many(dict.fromkeys(keys, VALUE))
    select, cursor = "SELECT v FROM t WHERE k = ?", connection.cursor()
    reads = over(keys, lambda key: cursor.execute(select, (key,)).fetchone())
    compare("file read, tier / bare SELECT", 1.5, over(keys, lambda key: tier.read("default", key)), reads)

    def promoting() -> float:
        with store._core.chain.memory.lock:
            store._core.chain.memory.empty(store._core.space.part)
        return over(keys, store.get)()

    compare("file read, backend with promotion / bare SELECT", 2.3, promoting, reads)
    evicting = TieredBackend([MemoryTier(max_entries=50), tier])
    compare("the same, each read evicts another / bare SELECT", None, over(keys, evicting.get), reads)
    store.close()
    connection.close()


def redis_hit(directory: Path) -> None:
    server = RedisServer()
    try:
        tier, client = RedisTier(server.url), redis.Redis.from_url(server.url)
        put(tier, "n:1", "k", draft(namespace_seed("n"), "k", b"v" * 50, 1).seal(1))
        ours = timed(lambda _: tier.get("n:1", "k"), 3000)
        compare("Redis hit / redis.Redis.get", 0.75, ours, timed(lambda _: client.get("tiered:n:1:k"), 3000))
        tier.close()
        client.close()
    finally:
        server.stop()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="tiered-bench-") as name:
        directory = Path(name)
        print(f"bare fdatasync: {fsync_ms(directory):.2f} ms")
        for part in (memory, redis_hit, file):
            part(directory)


if __name__ == "__main__":
    main()
