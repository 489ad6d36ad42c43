"""A million entries in a FileTier against ten thousand: reads in turns in one run, and how long opening takes.

python benchmarks/million.py [directory for the files, about 400 MB; the system's temporary one if not given]

Keys are drawn from a Zipf distribution (exponent 0.99, as in YCSB), their ranks scattered over the key space. Prints
ratios (median of the rounds, min to max) with ok or MISSED, and the progress of the fill.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from itertools import accumulate
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tiered import FileTier
from tiered.entry import draft, namespace_seed
from tiered.tiers.base import Write

ROUNDS = 9
READS = 20_000
BATCH = 1000
SMALL, MILLION = 10_000, 1_000_000
ASKED_RATIO, ASKED_OPEN_MS = 1.5, 50
SEED = namespace_seed("n")


def key(number: int) -> str:
    return f"user:{number}"


def fill(tier: FileTier, count: int) -> None:
    """Write `count` entries of 300 bytes in durable batches, telling how far it is."""
    start = told = time.perf_counter()
    for first in range(0, count, BATCH):
        writes = [Write(key(n), draft(SEED, key(n), random.randbytes(267), 1)) for n in range(first, first + BATCH)]
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


def compare_reads(million: FileTier, small: FileTier) -> None:
    rng = random.Random(1)
    big, little = Zipf(MILLION, rng), Zipf(SMALL, rng)
    read(million, big.draw(READS))  # both begin warm
    read(small, little.draw(READS))
    pairs = [(read(million, big.draw(READS)), read(small, little.draw(READS))) for _ in range(ROUNDS)]
    ratios = sorted(a / b for a, b in pairs)
    median = statistics.median(ratios)
    at_million, at_small = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"{'read at a million / at ten thousand':<44}{median:>7.3f} ({ratios[0]:.3f}–{ratios[-1]:.3f})"
        f"  asked {ASKED_RATIO:<6}{verdict(median <= ASKED_RATIO):<8}{at_million:>9.2f} / {at_small:.2f} µs",
        flush=True,
    )


def compare_opening(directory: Path) -> None:
    times = []
    for _ in range(ROUNDS):
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


def main() -> None:
    where = sys.argv[1] if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory(prefix="tiered-million-", dir=where) as name:
        directory = Path(name)
        small, million = FileTier(directory / "small"), FileTier(directory / "million")
        fill(small, SMALL)
        fill(million, MILLION)
        compare_reads(million, small)
        small.close()
        million.close()
        compare_opening(directory / "million")


if __name__ == "__main__":
    main()
