"""How long after the return of Redis all tiers of tiered are equal, when it missed many writes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.outage.faults import FAULTS
from benchmarks.outage.ledger import text
from benchmarks.outage.worker import THREADS
from benchmarks.systems.tiered_chain import TieredChain
from tests.servers import RedisServer
from tiered.errors import StoreError
from tiered.tiers.redis import RedisTier

FAULTS_WITH_RECOVERY = ("hang", "empty", "snapshot")
GIVE_UP = 60.0
_PAGE = 500
_EVERY = 0.05


@dataclass(frozen=True, slots=True)
class Recovery:
    """`seconds` from the return of Redis until it holds, for each missed write, the very frame of the record."""

    fault: str
    writes: int
    outage: float
    """Seconds that Redis was away; writing takes as long as it takes, so it may be more than was planned."""
    seconds: float
    equal: bool
    """False: `seconds` is when the wait was given up."""
    verified: bool
    """What verify() said of all tiers after that, memory included."""


def recover(fault: str, writes: int, outage: float, tell: Callable[[str], None]) -> Recovery:
    """Write each of `writes` keys while Redis, which holds an older value of it, is away for `outage` seconds."""
    server = RedisServer()
    try:
        fate = FAULTS[fault](server)
        with tempfile.TemporaryDirectory(prefix="tiered-outage-") as directory:
            chain = TieredChain(server.url, Path(directory))
            try:
                keys = [f"missed:{n}" for n in range(writes)]
                chain.fill({key: text(1) for key in keys})
                fate.prepare()
                fate.begin()
                began = time.monotonic()
                tell(f"{writes:,} writes that Redis misses")
                _write(chain, keys)
                time.sleep(max(0.0, began + outage - time.monotonic()))
                fate.end()
                back = time.monotonic()
                tell("Redis is back; until all tiers are equal")
                equal, seconds = _until_equal(chain, server.url, keys, back)
                return Recovery(fault, writes, back - began, seconds, equal, chain.converged())
            finally:
                chain.close()
    finally:
        server.stop()


def _write(chain: TieredChain, keys: Sequence[str]) -> None:
    """By four threads, each with its share of the keys."""

    def work(share: Sequence[str]) -> None:
        for key in share:
            chain.set(key, text(2))

    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(work, keys[n::THREADS]) for n in range(THREADS)]:
            done.result()


def _until_equal(chain: TieredChain, url: str, keys: Sequence[str], back: float) -> tuple[bool, float]:
    """Look from outside, past the chain's own breaker and debts, which must not be believed here."""
    cache = RedisTier(url, timeout=1.0)
    try:
        while True:
            equal, now = _equal(chain, cache, keys), time.monotonic()
            if equal or now - back > GIVE_UP:
                return equal, now - back
            time.sleep(_EVERY)
    finally:
        cache.close()


def _equal(chain: TieredChain, cache: RedisTier, keys: Sequence[str]) -> bool:
    for first in range(0, len(keys), _PAGE):
        page = keys[first : first + _PAGE]
        generation, frames = chain.record.read_many("default", page)
        try:
            if cache.get_many(f"default:{generation}", page) != frames:
                return False
        except StoreError:  # it loads its snapshot
            return False
    return True
