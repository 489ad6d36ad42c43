"""RedisTier behind real sentinels: the master is found, lost, and found again elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.redis_topologies import RedisSentinels, eventually
from tests.servers import free_port
from tiered import RedisTier, TieredBackend
from tiered.entry import draft, namespace_seed
from tiered.errors import ConfigError, NotApplied, Reason, StoreError, StoreUnavailable
from tiered.testing.contract import put

SCOPE = "n:1"
SLOW = 5.0
KEYS = [f"k{n}" for n in range(100)]


def frame(key: str, version: int = 1) -> bytes:
    return draft(namespace_seed("n"), key, b"v", 1).seal(version)


@pytest.fixture
def sentinels() -> Iterator[RedisSentinels]:
    servers = RedisSentinels()
    yield servers
    servers.stop()


def in_service(store: TieredBackend) -> bool:
    state = store.health()["redis"]
    return bool(state["breaker"] == "closed" and not state["owed"])


def test_failover_no_call_fails_nothing_old_is_read_and_a_new_generation_begins(
    sentinels: RedisSentinels, tmp_path: Path
) -> None:
    url = f"memory://?max_entries=0,{sentinels.url}?timeout=500ms,file:{tmp_path}"
    with TieredBackend.from_url(url) as store, TieredBackend.from_url(url) as reader:
        store.set_many(dict.fromkeys(KEYS, "old"))
        eventually(lambda: store.lookup("k0").tier == reader.lookup("k0").tier == "redis")
        generation = store._core.space.generation
        sentinels.sentinels[0].kill()  # two are a majority
        sentinels.master.kill()
        for key in KEYS:
            store.set(key, "new")
            assert store.get(key) == "new"
        store.delete("k0")
        assert store.health()["redis"]["breaker"] == "open"
        eventually(lambda: in_service(store) and in_service(reader))
        assert store._core.space.generation > generation
        for chain in (store, reader):
            assert chain.get_many(KEYS) == dict.fromkeys(KEYS[1:], "new") and chain.get("k0") is None
        eventually(lambda: {store.lookup(key).tier for key in KEYS} == {"redis"})
        assert {store.lookup(key).value for key in KEYS[1:]} == {"new"}
        with redis.Redis(port=sentinels.replica.port) as promoted:
            assert promoted.info("replication")["role"] == "master" and promoted.dbsize() >= len(KEYS)


def test_a_master_that_was_replaced_is_not_believed_though_it_answers(sentinels: RedisSentinels) -> None:
    """A failover that an operator asked for: the old master goes on, as a replica; so does its subscription."""
    tier = RedisTier(sentinels.url, timeout=SLOW, connect_timeout=SLOW)
    before, subscription = tier.probe(), tier.subscribe()
    assert put(tier, SCOPE, "k", frame("k")) and tier.get(SCOPE, "k") == frame("k")
    with redis.Redis(port=sentinels.sentinels[0].port) as sentinel:
        sentinel.execute_command("SENTINEL", "FAILOVER", sentinels.service)
    eventually(lambda: reason(tier) is Reason.RESTARTED)
    eventually(lambda: another(tier, before))
    assert put(tier, SCOPE, "k", frame("k", 2)) and tier.get(SCOPE, "k") == frame("k", 2)
    with pytest.raises(StoreUnavailable):
        subscription.receive()
    subscription.close()
    direct = RedisTier(sentinels.master.url, timeout=SLOW, connect_timeout=SLOW)
    with pytest.raises(StoreUnavailable, match="replica"):
        direct.get(SCOPE, "k")
    for it in (tier, direct):
        it.close()


def reason(tier: RedisTier) -> Reason | None:
    """Why nothing can be read."""
    try:
        tier.get(SCOPE, "k")
    except StoreError as error:
        return error.reason
    return None


def another(tier: RedisTier, before: str) -> bool:
    try:
        return tier.probe() != before
    except StoreUnavailable:
        return False


def test_sentinels_that_hang_or_are_gone_cost_their_time_limits_only(sentinels: RedisSentinels) -> None:
    sentinels.sentinels[0].freeze()
    sentinels.sentinels[1].kill()
    tier = RedisTier(sentinels.url, timeout=0.5, connect_timeout=0.5)
    started = time.monotonic()
    assert put(tier, SCOPE, "k", frame("k"))
    assert time.monotonic() - started < 5
    sentinels.sentinels[2].kill()
    assert tier.get(SCOPE, "k") == frame("k")  # nobody is asked while the connection holds
    sentinels.sentinels[0].kill()
    tier._link.pool.forget_idle()
    with pytest.raises(StoreUnavailable, match="No master found") as caught:
        tier.get(SCOPE, "k")
    assert caught.value.reason is Reason.CONNECTION
    with pytest.raises(NotApplied):
        put(tier, SCOPE, "k", frame("k", 2))
    tier.close()


def test_a_service_that_the_sentinels_do_not_know_is_told(sentinels: RedisSentinels) -> None:
    tier = RedisTier(sentinels.url.replace("mymaster", "theirs"), timeout=SLOW, connect_timeout=SLOW)
    with pytest.raises(StoreUnavailable, match="theirs"):
        tier.get(SCOPE, "k")
    tier.close()


def test_it_can_be_the_store_of_record(sentinels: RedisSentinels) -> None:
    with TieredBackend.from_url(f"memory://,{sentinels.url}?timeout=5") as store:
        store.set("k", 1)
        assert store.update("k", lambda value: value + 1) == 2 and list(store.keys()) == ["k"]


def test_construction_needs_no_sentinel() -> None:
    tier = RedisTier(f"redis+sentinel://127.0.0.1:{free_port()}/mymaster/0")
    with pytest.raises(StoreUnavailable):
        tier.get(SCOPE, "k")
    tier.close()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis+sentinel://:s3cret@host:26379", "name the service"),
        ("redis+sentinel://:s3cret@host,:26380/mymaster", "host"),
        ("redis+sentinel://:s3cret@host:0/mymaster", "port"),
        ("redis+sentinel://:s3cret@host/mymaster/one", "database"),
        ("redis+sentinel://:s3cret@host/mymaster?sentinel_pasword=x", "sentinel_password"),
        ("redis://:s3cret@host/0?sentinel_password=x", "unknown option"),
    ],
)
def test_a_url_that_cannot_work_is_refused_at_once(url: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        RedisTier(url)
    assert "s3cret" not in str(caught.value)


def test_where_no_sentinel_answers_each_is_named_with_its_error_and_nothing_of_the_driver() -> None:
    ports = [free_port(), free_port()]
    addresses = ",".join(f"127.0.0.1:{port}" for port in ports)
    tier = RedisTier(f"redis+sentinel://:s3cret@{addresses}/mymaster/0", timeout=SLOW, connect_timeout=SLOW)
    told = str(tier.health().detail)
    assert "'mymaster'" in told and "sentinels run" in told and len(told) < 300
    assert all(f"127.0.0.1:{port} ConnectionError" in told for port in ports)
    assert not [part for part in ("<", "redis.client", "s3cret") if part in told]
    tier.close()
