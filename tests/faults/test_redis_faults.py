"""Replies that are lost or late, a Redis that flaps, is full, loading, paused, or back with old values (14-16, 18, 19, 31)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.faults.agents import eventually
from tests.servers import RedisServer, free_port
from tests.waiting import LIMIT
from tiered import FileTier, MemoryTier, RedisTier, TieredBackend
from tiered.errors import Ambiguous, NotApplied
from tiered.testing.chaos import Proxy

pytestmark = pytest.mark.faults


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    with Proxy("127.0.0.1", redis_server.port) as it:
        yield it


@pytest.fixture
def raw(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


@pytest.fixture
def store(proxy: Proxy, tmp_path: Path) -> Iterator[TieredBackend]:
    """Over the proxy, without memory."""
    with TieredBackend([RedisTier(through(proxy)), FileTier(tmp_path)]) as it:
        yield it


def through(proxy: Proxy) -> str:
    return f"redis://127.0.0.1:{proxy.port}/0"


def in_service(store: TieredBackend) -> bool:
    state = store.health()["redis"]
    return bool(state["breaker"] == "closed" and not state["owed"])


# Fault 14: the reply is lost


class LosingCommits(RedisTier):
    """The store of record, from whose server no reply comes back once `proxy` was set and versions are reserved."""

    proxy: Proxy | None = None

    def _reserve(self, namespace: str, count: int) -> int:
        last = super()._reserve(namespace, count)
        if self.proxy is not None:
            self.proxy.lose_replies()
        return last


def test_honest_failure_an_increment_whose_reply_is_lost_is_ambiguous_and_applied_once(
    proxy: Proxy, redis_server: RedisServer
) -> None:
    record = LosingCommits(through(proxy))
    with TieredBackend([record]) as store, TieredBackend([RedisTier(redis_server.url)]) as direct:
        assert store.increment("n") == 1
        record.proxy = proxy
        for n in range(2, 7):
            with pytest.raises(Ambiguous):
                store.increment("n")
            proxy.pass_through()
            assert direct.get("n") == n  # nobody tried again behind the caller's back


def test_honest_failure_a_write_that_never_got_its_version_is_not_applied(
    proxy: Proxy, redis_server: RedisServer
) -> None:
    with TieredBackend([RedisTier(through(proxy))]) as store, TieredBackend([RedisTier(redis_server.url)]) as direct:
        store.set("k", "old")
        proxy.lose_replies()
        with pytest.raises(NotApplied):
            store.set("k", "new")
        assert direct.get("k") == "old"


def test_an_increment_whose_publication_is_lost_counts_once(store: TieredBackend, proxy: Proxy) -> None:
    assert store.increment("n") == 1
    proxy.lose_replies()
    assert [store.increment("n") for _ in range(3)] == [2, 3, 4]
    proxy.pass_through()
    eventually(lambda: in_service(store))
    assert store.get("n") == 4


# Fault 15: an old command arrives after a newer one


def test_no_going_back_when_a_timed_out_write_arrives_after_a_newer_one(
    store: TieredBackend, proxy: Proxy, redis_server: RedisServer, tmp_path: Path
) -> None:
    with TieredBackend([RedisTier(redis_server.url), FileTier(tmp_path)]) as other:
        store.set("k", "v1")
        proxy.delay(0.5)
        late = proxy.counts.late
        assert store.set("k", "v2").tiers["redis"] == "queued"  # it is on its way, and its sender has given up
        assert other.set("k", "v3").tiers["redis"] == "ok"
        assert other.get("k") == "v3"
        eventually(lambda: proxy.counts.late > late)
        proxy.pass_through()
        assert {other.get("k") for _ in range(50)} == {"v3"}
        assert other.lookup("k").tier == "redis"
        eventually(lambda: in_service(store))
        assert store.get("k") == "v3"


# Fault 16: back with old values


@pytest.mark.parametrize("fault", ["refuse", "hang", "drop"])
def test_no_stale_return_when_redis_is_back_with_the_values_of_before(
    proxy: Proxy, raw: redis.Redis, tmp_path: Path, fault: str
) -> None:
    """Put, outage, put, evict from memory, and Redis returns: it still holds the first value."""
    with TieredBackend([MemoryTier(max_entries=1), RedisTier(through(proxy)), FileTier(tmp_path)]) as store:
        store.set_many({"changed": "old", "deleted": "old"})
        held = dict(zip(names := raw.keys("*:default:*ed"), raw.mget(names), strict=True))
        assert len(held) == 2
        proxy.switch(fault)
        store.set("changed", "new")
        store.delete("deleted")
        store.set("filler", 1)  # memory holds one entry
        assert dict(zip(names, raw.mget(names), strict=True)) == held
        proxy.pass_through()
        for _ in range(20):
            assert store.get("changed") == "new" and store.get("deleted") is None
            store.get("filler")
        eventually(lambda: in_service(store))
        store.get("filler")
        assert store.lookup("changed").value == "new" and not store.lookup("deleted").found


# Fault 18: the server answers, and refuses


def full(raw: redis.Redis) -> None:
    raw.config_set("maxmemory", 1)


def read_only(raw: redis.Redis) -> None:
    raw.replicaof("127.0.0.1", str(free_port()))


def master_down(raw: redis.Redis) -> None:
    raw.config_set("replica-serve-stale-data", "no")
    read_only(raw)


def wrong_type(raw: redis.Redis) -> None:
    for name in raw.keys("*:k*"):
        raw.delete(name)
        raw.rpush(name, "theirs")


def no_permission(raw: redis.Redis) -> None:
    raw.acl_setuser(
        "default", enabled=True, nopass=True, keys="*", commands=["+@all", "-evalsha", "-eval", "-mget", "-get"]
    )


def heal(raw: redis.Redis) -> None:
    raw.config_set("maxmemory", 0)
    raw.replicaof("NO", "ONE")
    raw.config_set("replica-serve-stale-data", "yes")
    raw.acl_setuser("default", enabled=True, nopass=True, keys="*", commands=["+@all"])


@pytest.mark.parametrize("refusal", [full, read_only, master_down, wrong_type, no_permission])
def test_failover_a_server_that_refuses_fails_no_call_and_heals(
    redis_server: RedisServer, raw: redis.Redis, tmp_path: Path, refusal: Callable[[redis.Redis], None]
) -> None:
    with TieredBackend([RedisTier(redis_server.url), FileTier(tmp_path)]) as store:
        store.set_many({f"k{n}": "old" for n in range(10)})
        refusal(raw)
        for n in range(10):
            assert store.set(f"k{n}", "new").tiers == {"redis": "queued", "file": "ok"}
            assert store.get(f"k{n}") == "new"
        about_the_call = refusal in (wrong_type, no_permission)
        assert (store.health()["redis"]["breaker"] == "closed") == about_the_call
        assert store.get_many([f"k{n}" for n in range(10)]) == {f"k{n}": "new" for n in range(10)}
        heal(raw)
        if refusal is wrong_type:
            raw.flushall()
        eventually(lambda: {store.lookup(f"k{n}").tier for n in range(10)} == {"redis"})
        assert store.get_many([f"k{n}" for n in range(10)]) == {f"k{n}": "new" for n in range(10)}


def test_failover_a_server_that_is_loading_fails_no_call_and_heals(tmp_path: Path) -> None:
    server = RedisServer("--enable-debug-command", "local")
    try:
        with (
            redis.Redis.from_url(server.url, socket_timeout=LIMIT) as raw,  # a reload takes its time
            TieredBackend([RedisTier(server.url), FileTier(tmp_path)]) as store,
        ):
            store.set("k", "old")
            raw.mset({f"ballast{n}": "x" * 100 for n in range(3000)})
            raw.config_set("loading-process-events-interval-bytes", 1024)
            raw.config_set("key-load-delay", 1000)  # µs a key: three seconds of loading
            reload = threading.Thread(target=raw.execute_command, args=("DEBUG", "RELOAD"))
            reload.start()
            with redis.Redis.from_url(server.url) as other:
                eventually(lambda: loading(other))
                assert store.set("k", "new").tiers["redis"] == "queued"
                assert store.get("k") == "new"
                assert loading(other)  # it was, all the time
            reload.join()
            eventually(lambda: store.lookup("k").tier == "redis")
            assert store.get("k") == "new"
    finally:
        server.stop()


def loading(client: redis.Redis) -> bool:
    return bool(client.info("persistence")["loading"])


# Fault 19: paused, disconnected


def test_failover_paused_writes_are_queued_and_disconnected_clients_come_back(
    redis_server: RedisServer, raw: redis.Redis, tmp_path: Path
) -> None:
    with TieredBackend([RedisTier(redis_server.url), FileTier(tmp_path)]) as store:
        store.set("k", "v1")
        raw.client_pause(1000, all=False)
        assert store.set("k", "v2").tiers["redis"] == "queued"
        assert store.get("k") == "v2"
        eventually(lambda: store.lookup("k").tier == "redis")
        for n in range(5):
            raw.client_kill_filter(_type="normal", skipme=True)
            assert store.get("k") == "v2"
            store.set("other", n)
            assert store.get("other") == n
        eventually(lambda: in_service(store))
        assert store.get("k") == "v2"


# Fault 31: there and gone, again and again


def test_failover_a_flapping_server_fails_no_call_and_nothing_old_is_read(store: TieredBackend, proxy: Proxy) -> None:
    store.set("k", -1)
    proxy.flap(up=0.2, down=0.3)
    refused, n = proxy.counts.refused, 0
    while proxy.counts.refused + proxy.counts.cut < refused + 6 or n < 300:
        store.set("k", n)
        assert store.get("k") == n
        n += 1
        if n % 50 == 0:
            threading.Event().wait(0.05)
    proxy.pass_through()
    eventually(lambda: in_service(store))
    assert store.get("k") == n - 1 and store.lookup("k").tier == "redis"
