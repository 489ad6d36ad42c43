"""The memory tier's hit share through the whole backend, on fixed traces, beside an exact LRU of the same size."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import pytest

from tests.clocks import HandClock
from tiered import FileTier, MemoryTier, TieredBackend

SIZE, KEYS, LENGTH, SEED = 200, 2_000, 30_000, 20_240


def zipf(rng: random.Random, length: int, skew: float) -> list[str]:
    weights = list(accumulate(1 / rank**skew for rank in range(1, KEYS + 1)))
    return [f"k{number}" for number in rng.choices(range(KEYS), cum_weights=weights, k=length)]


def scanned(rng: random.Random) -> Iterator[str]:
    """Zipf, and now and then somebody reads through keys that nobody else wants."""
    wanted = zipf(rng, LENGTH, 1.0)
    for start in range(0, LENGTH, 3_000):
        yield from wanted[start : start + 2_600]
        yield from (f"scan{start + number}" for number in range(400))


def shifting(rng: random.Random) -> Iterator[str]:
    """What is hot is another tenth of the keys every while; nothing must be protected for ever."""
    for start in range(0, LENGTH, 5_000):
        names = random.Random(start).sample(range(KEYS), KEYS)
        yield from (f"k{names[int(key[1:])]}" for key in zipf(rng, 5_000, 1.1))


def bursts(rng: random.Random) -> Iterator[str]:
    """Every user is busy for a while, and then for long not: the best case of an LRU."""
    for _ in range(LENGTH // 20):
        user = rng.randrange(KEYS)
        yield from (f"k{(user + rng.randrange(3)) % KEYS}" for _ in range(20))


TRACES = {
    "zipf 0.8": lambda rng: zipf(rng, LENGTH, 0.8),
    "zipf 1.0": lambda rng: zipf(rng, LENGTH, 1.0),
    "zipf 1.2": lambda rng: zipf(rng, LENGTH, 1.2),
    "zipf and scans": scanned,
    "zipf that shifts": shifting,
    "bursts": bursts,
}

LEAST = {"zipf that shifts": 0.99, "bursts": 0.99}
"""Of an LRU's hits, where recency is all that counts and nothing can be better; on every other trace all of them."""


def hits_of_an_exact_lru(trace: list[str]) -> int:
    held: OrderedDict[str, None] = OrderedDict()
    hits = 0
    for key in trace:
        if key in held:
            hits += 1
            held.move_to_end(key)
        else:
            held[key] = None
            if len(held) > SIZE:
                held.popitem(last=False)
    return hits


@pytest.mark.parametrize("trace", TRACES)
def test_hit_share_is_not_below_an_exact_lru_through_the_whole_backend(trace: str, tmp_path: Path) -> None:
    keys = list(TRACES[trace](random.Random(SEED)))
    clock = HandClock()
    chain = [MemoryTier(max_entries=SIZE, clock=clock), FileTier(tmp_path, clock=clock, sync="normal")]
    with TieredBackend(chain, shared=False, clock=clock) as store:
        store.set_many({key: key for key in set(keys)})
        with chain[0].lock:
            chain[0].empty(store._core.space.part)
        before = store.stats()["namespace"]["memory_hits"]
        for key in keys:
            assert store.get(key) == key
        hits = store.stats()["namespace"]["memory_hits"] - before
    exact = hits_of_an_exact_lru(keys)
    print(f"{trace}: {hits / len(keys):.3f}, exact LRU {exact / len(keys):.3f}")
    assert hits >= LEAST.get(trace, 1.0) * exact
