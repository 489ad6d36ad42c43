"""A master that is replaced without being stopped: its connections stay open, and it goes on answering as a replica."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.redis_topologies import PROMPT, eventually
from tests.servers import RedisServer, free_port
from tiered import FileTier, MemoryTier, RedisTier, TieredBackend
from tiered.tiers.redis_pool import BELIEF

pytestmark = pytest.mark.faults

LOCAL = "127.0.0.1"


@pytest.fixture
def master() -> Iterator[RedisServer]:
    server = RedisServer(*PROMPT)
    yield server
    server.stop()


@pytest.fixture
def other() -> Iterator[RedisServer]:
    server = RedisServer(*PROMPT)
    yield server
    server.stop()


def follows(server: RedisServer, master: RedisServer) -> None:
    """`server` becomes a replica that has what `master` has."""
    with redis.Redis(port=server.port) as client:
        client.replicaof(LOCAL, str(master.port))
        eventually(lambda: client.info("replication")["master_link_status"] == "up")


def test_no_stale_return_from_a_master_that_was_made_to_follow_one_with_older_data(
    master: RedisServer, other: RedisServer, tmp_path: Path
) -> None:
    """Nothing is written meanwhile, so nobody meets READONLY."""
    with TieredBackend([RedisTier(master.url), FileTier(tmp_path)]) as store, redis.Redis(port=other.port) as replica:
        store.set("k", "old")
        follows(other, master)  # its first replica gives a master another id, and so to be met anew
        replica.replicaof("NO", "ONE")
        store.set("k", "new")
        keeper, record = store._core.service.keeper, store._core.chain.record
        # Claims and notes are writes, too, and renewed every two minutes, and every ten seconds.
        eventually(lambda: keeper._claims_until)
        eventually(lambda: keeper._notes._noted.get("redis", ("",))[0] == record.history()[1])  # type: ignore[attr-defined]  # a FileTier
        eventually(lambda: store.lookup("k").tier == "redis")
        follows(master, other)
        demoted, reads = time.monotonic(), 0
        while reads < 20:
            began = time.monotonic()
            value = store.get("k")
            if began > demoted + BELIEF:
                assert value == "new"
                reads += 1


def test_messages_of_a_master_that_the_others_have_left_prove_nothing(
    master: RedisServer, other: RedisServer, tmp_path: Path
) -> None:
    """A process with the old address: its server is a replica whose link is broken, and still answers heartbeats."""

    def store(server: RedisServer) -> TieredBackend:
        return TieredBackend([MemoryTier(), RedisTier(server.url), FileTier(tmp_path)], staleness=0.5)

    with store(master) as left, store(other) as moved, redis.Redis(port=master.port) as client:
        left.set("k", 0)
        eventually(lambda: left._core.chain.coherence_stats.connected)
        client.replicaof(LOCAL, str(free_port()))
        for number in (1, 2, 3):
            moved.set("k", number)
            moved._core.service.keeper.look()  # confirms it: no mark is left that could tell
            eventually(lambda number=number: left.get("k") == number)  # type: ignore[misc]  # bound now
