"""What happens in Redis and in other processes while a loader runs: nothing old is stored, and nothing is fenced in vain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.integration.test_get_or_set import Held, count, never
from tests.servers import RedisServer
from tests.waiting import LIMIT, eventually, started
from tiered import FileTier, MemoryTier, RedisTier, TieredBackend
from tiered.replication.leases import Lease

LEASE = "tiered:default:lease:k"
Open = Callable[..., TieredBackend]


@pytest.fixture
def opened(redis_server: RedisServer, tmp_path: Path) -> Iterator[Open]:
    stores: list[TieredBackend] = []

    def opened(*, memory: bool = True, **options: Any) -> TieredBackend:
        tiers = [RedisTier(redis_server.url, timeout=5.0, connect_timeout=5.0), FileTier(tmp_path / "data")]
        store = TieredBackend([MemoryTier(), *tiers] if memory else tiers, **options)
        stores.append(store)
        return store

    yield opened
    for store in stores:
        store.close()


@pytest.fixture
def raw(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


def held(store: TieredBackend) -> list[Lease]:
    return list(store._core.service.loading.leases.heartbeat._held)  # type: ignore[arg-type]  # only leases beat


def test_a_load_among_other_traffic_is_stored(opened: Open) -> None:
    store, other = opened(), opened()
    store.set("k", "before")
    store.delete("k")
    loader = Held()
    asked = loader.ask(store)
    for n in range(50):  # absences are read and told at ever higher versions
        other.set(f"x{n}", n)
        assert other.get("k") is None and store.get("k") is None and store.get_many(["k"]) == {}
    loader.go.set()
    assert asked.result(LIMIT) == "loaded"
    assert count(store, "fenced") == 0
    assert other.get("k") == store.get("k") == "loaded"


def test_a_delete_by_another_process_is_not_undone(opened: Open) -> None:
    store, other = opened(memory=False), opened(memory=False)
    loader = Held()
    asked = loader.ask(store)
    other.delete("k")
    loader.go.set()
    assert asked.result(LIMIT) == "loaded"
    assert count(store, "fenced") == 1 and store.get("k") is None


def test_a_delete_that_another_process_tells_of_is_not_undone(opened: Open, raw: redis.Redis) -> None:
    store, other = opened(), opened()
    loader = Held()
    asked = loader.ask(store)
    eventually(lambda: store._core.service.coherence.stats.connected and store._core.space.subscribed)
    told = store._core.service.coherence.stats.received
    other.delete("k")
    eventually(lambda: store._core.service.coherence.stats.received > told)
    raw.delete("tiered:default:2:k", "tiered:default:1:k")  # Redis evicted the tombstone
    loader.go.set()
    assert asked.result(LIMIT) == "loaded"
    assert count(store, "fenced") == 1 and store.get("k") is None


def test_one_that_lost_its_lease_stores_nothing(opened: Open, raw: redis.Redis) -> None:
    """Another may have loaded, and its value expired since: to store this one would be to go back."""
    store = opened(lease_ttl=0.3)
    loader = Held()
    asked = loader.ask(store)
    raw.set(LEASE, "another's")
    eventually(lambda: held(store)[0]._lost)
    loader.go.set()
    assert asked.result(LIMIT) == "loaded"
    assert count(store, "fenced") == 1 and store.get("k") is None
    assert raw.get(LEASE) == b"another's"


def test_a_lease_is_taken_and_given_back(opened: Open, raw: redis.Redis) -> None:
    store = opened(lease_ttl=30)
    loader = Held()
    asked = loader.ask(store)
    assert 0 < raw.pttl(LEASE) <= 30_000
    loader.go.set()
    asked.result(LIMIT)
    assert not raw.exists(LEASE) and not held(store)


def test_redis_as_the_store_of_record_gives_leases_too(redis_server: RedisServer, raw: redis.Redis) -> None:
    one, two = (TieredBackend([RedisTier(redis_server.url, timeout=5.0)]) for _ in range(2))
    with one, two:
        loader = Held()
        asked = loader.ask(one)
        waits = started(lambda: two.get_or_set("k", never))
        eventually(lambda: count(two, "waited") == 1)
        loader.go.set()
        assert asked.result(LIMIT) == waits.result(LIMIT) == "loaded"
        assert not raw.exists(LEASE)


@pytest.mark.parametrize("after", ["kill", "restart"])
def test_a_redis_that_goes_away_while_the_loader_runs_costs_no_error(
    opened: Open, redis_server: RedisServer, after: str
) -> None:
    store = opened(lease_ttl=0.3)
    loader = Held()
    asked = loader.ask(store)
    getattr(redis_server, after)()
    eventually(lambda: store.health()["redis"]["breaker"] != "closed" or held(store)[0]._lost)
    loader.go.set()
    assert asked.result(LIMIT) == "loaded"
    assert store.get_or_set("k", lambda: "loaded") == "loaded"
    assert store.get("k") == "loaded"


def test_stopping_the_loads_leaves_no_thread(opened: Open) -> None:
    store = opened(lease_ttl=0.1)
    assert store.get_or_set("k", lambda: 1) == 1
    thread = store._core.service.loading.leases.heartbeat._thread
    assert thread is not None
    store.close()
    assert not thread.is_alive()
