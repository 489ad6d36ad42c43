"""What CouchbaseTier adds to the bare SDK, on the same server, in turns; prints ratios (median of the rounds, min to max).

make bench            (CouchbaseMock, or the server of TIERED_TEST_COUCHBASE)

"SDK" is the one that an application has by its documentation; "plain SDK" has its tracing and its metrics switched off, as the
tier has. The mock answers within a hundred microseconds or two; the slower a server, the nearer to 1 is every ratio.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from couchbase.auth import PasswordAuthenticator
from couchbase.cluster import Cluster
from couchbase.options import ClusterOptions
from couchbase.transcoder import RawBinaryTranscoder

from benchmarks.figures import report, turns
from tests.couchbase_servers import REAL, CouchbaseMock, fresh
from tiered import CouchbaseTier, MemoryTier, TieredBackend
from tiered.entry import draft, namespace_seed
from tiered.tiers.base import Write
from tiered.tiers.couchbase_url import Address

CALLS = 150
VALUE = b"v" * 250
ASKED = 1.3

Call = Callable[[str], object]


def seconds(call: Call, keys: list[str]) -> float:
    """Per call."""
    start = time.perf_counter()
    for key in keys:
        call(key)
    return (time.perf_counter() - start) / len(keys)


def compare(name: str, ours: Call, bare: Call, asked: float | None = ASKED) -> None:
    """Run both in turns, which of them is first in turns, too, and print the ratio."""
    keys = [f"k{n}" for n in range(CALLS)]
    pairs = []
    for turn in turns(21):
        first, second = (ours, bare) if turn % 2 else (bare, ours)
        took = (seconds(first, keys), seconds(second, keys))
        pairs.append(took if turn % 2 else took[::-1])
    report(name, asked, pairs)


def as_documented(address: Address) -> Cluster:
    login = PasswordAuthenticator(address.user, address.password)
    return Cluster(address.connection, ClusterOptions(login, transcoder=RawBinaryTranscoder()))


def main() -> None:
    server = None if REAL else CouchbaseMock()
    tier = CouchbaseTier(server.url if server else REAL, prefix=fresh(), timeout=5.0, connect_timeout=10.0)
    store = TieredBackend([MemoryTier(max_entries=0), tier])
    try:
        plain, seed = tier._link._connection.collection(write=True), namespace_seed("n")
        address = tier._link._connection._address
        connection = as_documented(address)
        collection = connection.bucket(address.bucket).scope(address.scope).collection(address.collection)

        def commit(key: str) -> object:
            return tier.commit("n", [Write(key, draft(seed, key, VALUE, 1))], now=time.time_ns() // 1_000_000)

        for n in range(CALLS):
            collection.upsert(f"k{n}", VALUE)
            commit(f"k{n}")
            store.set(f"k{n}", VALUE)
        compare("record: commit / SDK upsert", commit, lambda key: collection.upsert(key, VALUE))
        compare("record: read / SDK get", lambda key: tier.read("n", key), lambda key: collection.get(key).value)
        compare("store.set / SDK upsert", lambda key: store.set(key, VALUE), lambda key: collection.upsert(key, VALUE))
        compare("store.get / SDK get", store.get, lambda key: collection.get(key).value)
        compare("record: commit / plain SDK upsert", commit, lambda key: plain.upsert(key, VALUE), None)
        compare("record: read / plain SDK get", lambda key: tier.read("n", key), lambda key: plain.get(key).value, None)
        compare("the SDK against itself", collection.get, collection.get, None)
        connection.close()
    finally:
        store.close()
        if server:
            server.stop()


if __name__ == "__main__":
    main()
