"""A value that Redis cannot take, for its memory or its limits: every other key has its cache, and operators hear of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import tiered
from tests.redis_topologies import RedisCluster
from tests.servers import RedisServer
from tests.waiting import eventually
from tiered import FileTier, RedisTier, TieredBackend

pytestmark = pytest.mark.faults

LARGE = os.urandom(6_000_000)
SERVERS = {
    "volatile-lru": ("--maxmemory", "4mb", "--maxmemory-policy", "volatile-lru"),
    "allkeys-lru": ("--maxmemory", "4mb", "--maxmemory-policy", "allkeys-lru"),
    "noeviction": ("--maxmemory", "4mb", "--maxmemory-policy", "noeviction"),
    "a limit of one argument": ("--proto-max-bulk-len", "1mb"),
}


@pytest.fixture(params=SERVERS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    server = RedisServer(*SERVERS[request.param])
    yield f"memory://,{server.url}?timeout=1s,file:{tmp_path}/data"
    server.stop()


def test_convergence_of_all_but_a_value_that_redis_cannot_take(url: str) -> None:
    with TieredBackend.from_url(url) as store:
        (guard,) = store._core.chain.guards
        store.set("small", 0)
        for _ in range(5):
            store.set("large", LARGE)
        guard.breaker.trip()  # whatever for: what is owed is replayed before it closes
        eventually(lambda: guard.breaker.closed and guard.refusals.all(), "the return of Redis")
        eventually(lambda: store.set("small", 1).tiers["redis"] == "ok", "a small write that Redis takes")
        assert len(store.get("large")) == len(LARGE)
        state = store.health()["redis"]
        assert [it["key"] for it in state["refused"]] == ["large"] and "'large'" in state["detail"]
    replayed, looked = tiered("replay", url=url), tiered("doctor", url=url)
    assert replayed.returncode == 1 and "redis does not take 'large' in namespace default (6,000" in replayed.stderr
    assert looked.returncode == 0 and "'large' in namespace default (5.7MB)" in looked.stdout
    with TieredBackend.from_url(url) as store:
        store.set("large", "small")
        eventually(lambda: not store.health()["redis"]["owed"], "what replaces it being taken")
        assert store.health()["redis"]["refused"] == []
    assert tiered("replay", url=url).returncode == 0


def test_a_writer_of_what_redis_cannot_take_keeps_nobody_from_it(url: str) -> None:
    with TieredBackend.from_url(url) as store:
        (guard,) = store._core.chain.guards
        for n in range(10):
            assert store.set("large", [n, LARGE]).tiers["redis"] == "queued"
        assert guard.breaker.transitions["open"] == 0


def test_convergence_of_a_cluster_but_for_what_a_master_cannot_take(tmp_path: Path) -> None:
    cluster = RedisCluster(masters=1)
    try:
        for server in cluster.masters:
            cluster.ask(server, "CONFIG", "SET", "maxmemory", "4mb")
        far = RedisTier(cluster.url, timeout=1, connect_timeout=1)
        with TieredBackend([far, FileTier(tmp_path / "data")]) as store:
            (guard,) = store._core.chain.guards
            store.set("large", LARGE)
            guard.trip("whatever for")
            eventually(lambda: guard.breaker.closed and guard.refusals.all(), "the return of the cluster")
            eventually(lambda: store.set("small", 1).tiers["redis"] == "ok", "a small write that it takes")
    finally:
        cluster.stop()
