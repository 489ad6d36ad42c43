"""A million entries against ten thousand, in turns in one run: reads of a FileTier, a whole store under load; and opening.

python benchmarks/million.py [directory for the files, about 400 MB; the system's temporary one if not given]

For the reads keys are drawn from a Zipf distribution (exponent 0.99, as in YCSB), their ranks scattered over the key space.
For the load, 95 % get and 5 % set by four threads, seven of ten go to a thousand hot keys and the others to all keys alike, so
that the same share of both stores is answered by memory. Prints ratios (median of the rounds, min to max) with ok or
MISSED, and the progress of the fill.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import threading
import time
from itertools import accumulate
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.figures import amount, report, turns
from tiered import FileTier, MemoryTier, TieredBackend
from tiered.codecs import codec_for
from tiered.entry import draft, namespace_seed
from tiered.tiers.base import Write

READS = 20_000
BATCH = 1000
SMALL, MILLION = 10_000, 1_000_000
TURNS = 9
ASKED_RATIO, ASKED_OPEN_MS, ASKED_RATE = 1.5, 50, 0.8
HOT, HOT_SHARE, SETS, THREADS, CALLS = 1000, 0.7, 0.05, 4, 8_000
CODEC = codec_for(None)
SEED = namespace_seed("n")


def key(number: int) -> str:
    return f"user:{number}"


def fill(tier: FileTier, count: int) -> None:
    """Write `count` entries of 300 bytes in durable batches, telling how far it is."""
    start = told = time.perf_counter()
    for first in range(0, count, BATCH):
        values = (CODEC.encode(random.randbytes(264)) for _ in range(BATCH))
        writes = [Write(key(n), draft(SEED, key(n), value, CODEC.id)) for n, value in enumerate(values, first)]
        tier.commit("n", writes, now=0)
        now = time.perf_counter()
        if now - told >= 2:
            told, done = now, first + BATCH
            rate = done / (now - start)
            print(f"  {done:>9,} of {count:,}   {rate:>8,.0f}/s   {(count - done) / rate:>4.0f} s left", flush=True)
    seconds = time.perf_counter() - start
    print(f"{count:,} entries written in {seconds:.1f} s: {count / seconds:,.0f}/s", flush=True)


class Zipf:
    """Draws keys of `count` entries: the rank r with a weight of 1 / r ** 0.99."""

    def __init__(self, count: int, rng: random.Random) -> None:
        self._rng = rng
        self._weights = list(accumulate((rank + 1) ** -0.99 for rank in range(count)))
        self._numbers = list(range(count))
        rng.shuffle(self._numbers)  # neighbours in rank are no neighbours on disk

    def draw(self, count: int) -> list[str]:
        return [key(n) for n in self._rng.choices(self._numbers, cum_weights=self._weights, k=count)]


def read(tier: FileTier, keys: list[str]) -> float:
    """Microseconds per read; every key must be there."""
    start = time.perf_counter()
    for it in keys:
        if tier.read("n", it)[1] is None:
            raise SystemExit(f"{it} is missing")
    return (time.perf_counter() - start) / len(keys) * 1e6


def verdict(met: bool) -> str:
    return "ok" if met else "MISSED"


def compare_reads(million: FileTier, small: FileTier, many: int) -> None:
    rng = random.Random(1)
    big, little = Zipf(many, rng), Zipf(SMALL, rng)
    read(million, big.draw(READS))  # both begin warm
    read(small, little.draw(READS))
    pairs = [(read(million, big.draw(READS)), read(small, little.draw(READS))) for _ in turns(TURNS)]
    report("read at a million entries / at ten thousand", ASKED_RATIO, pairs, scale=1)


class Load:
    """Four threads at a store over `tier`."""

    def __init__(self, tier: FileTier, count: int) -> None:
        self.store = TieredBackend([MemoryTier(max_entries=HOT * 5 // 4), tier], namespace="n")
        hot = random.Random(2).sample(range(count), HOT)
        self._plans = [self._plan(random.Random(n), hot, count) for n in range(THREADS)]

    def _plan(self, rng: random.Random, hot: list[int], count: int) -> list[tuple[str, bool]]:
        numbers = (rng.choice(hot) if rng.random() < HOT_SHARE else rng.randrange(count) for _ in range(CALLS))
        return [(key(number), rng.random() < SETS) for number in numbers]

    def run(self) -> float:
        """Calls per second."""
        threads = [threading.Thread(target=self._work, args=(plan,)) for plan in self._plans]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return THREADS * CALLS / (time.perf_counter() - start)

    def hit_share(self) -> float:
        return float(self.store.stats()["namespace"]["memory_hits"]) / (
            (len(turns(TURNS)) + 1) * THREADS * CALLS * (1 - SETS)
        )

    def _work(self, plan: list[tuple[str, bool]]) -> None:
        for it, write in plan:
            if write:
                self.store.set(it, random.randbytes(264))
            elif self.store.get(it) is None:
                raise SystemExit(f"{it} is missing")


def compare_stores(million: FileTier, small: FileTier, many: int) -> None:
    big, little = Load(million, many), Load(small, SMALL)
    big.run(), little.run()  # both begin warm
    pairs = [(big.run(), little.run()) for _ in turns(TURNS)]
    report("calls/s at a million entries / at ten thousand", ASKED_RATE, pairs, least=True, scale=1, unit="calls/s")
    print(f"  of the gets memory answered {big.hit_share():.0%} / {little.hit_share():.0%}")


def compare_opening(directory: Path) -> None:
    times = []
    for _ in turns(TURNS):
        start = time.perf_counter()
        tier = FileTier(directory)
        tier.read("n", key(0))
        times.append((time.perf_counter() - start) * 1000)
        tier.close()
    median = statistics.median(times)
    print(
        f"{'open a million and read once':<44}{median:>7.2f} ms ({min(times):.2f}–{max(times):.2f})"
        f"  asked {ASKED_OPEN_MS:<4}{verdict(median <= ASKED_OPEN_MS)}",
        flush=True,
    )


def main(where: str | None = None) -> None:
    """`where`: a directory for the files; by default where temporary ones are."""
    with tempfile.TemporaryDirectory(prefix="tiered-million-", dir=where) as name:
        directory, many = Path(name), amount(MILLION, 2 * SMALL)
        small, million = FileTier(directory / "small"), FileTier(directory / "million")
        fill(small, SMALL)
        fill(million, many)
        compare_reads(million, small, many)
        compare_stores(million, small, many)
        small.close()
        million.close()
        compare_opening(directory / "million")


if __name__ == "__main__":
    main(*sys.argv[1:2])
