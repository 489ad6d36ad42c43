"""A real Redis that is killed, frozen, restarted, full, locked: no call fails, nothing old is read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.servers import RedisServer, free_port
from tiered import FileTier, MemoryTier, RedisTier, TieredBackend
from tiered.errors import NotApplied, Reason, StoreUnavailable
from tiered.testing.contract import put


@pytest.fixture
def store(redis_server: RedisServer, tmp_path: Path) -> Iterator[TieredBackend]:
    with TieredBackend([MemoryTier(max_entries=0), RedisTier(redis_server.url), FileTier(tmp_path)]) as it:
        yield it


@pytest.fixture
def raw(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """The server of the test, without this library; it may be down until the first command."""
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


def eventually(true: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


@pytest.mark.parametrize(("database", "prefix"), [("1", "tiered"), ("0", "other")])
def test_another_database_or_prefix_is_another_cache_and_the_one_before_is_old(
    redis_server: RedisServer, tmp_path: Path, database: str, prefix: str
) -> None:
    """A setting that is changed, and changed back: the first place has missed what was written meanwhile."""
    other = RedisTier(redis_server.url.removesuffix("0") + database, prefix=prefix)
    for tier, value in ((RedisTier(redis_server.url), "old"), (other, "new")):
        with TieredBackend([tier, FileTier(tmp_path)]) as store:
            assert store.set("k", value).tiers["redis"] == "ok"
    with TieredBackend([RedisTier(redis_server.url), FileTier(tmp_path)]) as store:
        assert store.get("k") == "new"


def in_service(store: TieredBackend) -> bool:
    state = store.health()["redis"]
    return bool(state["breaker"] == "closed" and not state["owed"])


def test_reads_come_from_redis_and_are_promoted_into_it(store: TieredBackend, raw: redis.Redis) -> None:
    assert store.set("k", "v").tiers["redis"] == "ok"
    assert store.lookup("k").tier == "redis"
    raw.flushall()
    assert store.lookup("k").tier == "file"
    assert store.lookup("k").tier == "redis"
    assert store.delete("k")
    absent = store.lookup("k")
    assert (absent.found, absent.tier) == (False, "redis")


@pytest.mark.parametrize("fault", ["kill", "freeze"])
def test_failover_no_call_fails_and_nothing_old_is_read_afterwards(
    store: TieredBackend, redis_server: RedisServer, tmp_path: Path, fault: str
) -> None:
    store.set_many({f"k{n}": "old" for n in range(50)})
    getattr(redis_server, fault)()
    for n in range(50):
        outcome = store.set(f"k{n}", "new")
        assert outcome.tiers["redis"] == "queued" and outcome.tiers["file"] == "ok"
        assert store.get(f"k{n}") == "new"
    store.delete("k0")
    assert store.health()["redis"]["breaker"] != "closed"  # half-open, if the probe has just begun
    redis_server.thaw() if fault == "freeze" else redis_server.start()
    eventually(lambda: in_service(store))
    assert store.get("k0") is None
    assert {store.lookup(f"k{n}").tier for n in range(1, 50)} == {"redis"}
    with TieredBackend([RedisTier(redis_server.url), FileTier(tmp_path)]) as fresh:
        values = fresh.get_many([f"k{n}" for n in range(50)])
    assert values == {f"k{n}": "new" for n in range(1, 50)}


def test_one_failed_put_is_owed_at_once_and_paid_in_the_background(store: TieredBackend, raw: redis.Redis) -> None:
    store.set("k", "old")
    raw.config_set("maxmemory", 1)
    assert store.set("k", "new").tiers["redis"] == "queued"
    assert store.get("k") == "new"
    raw.config_set("maxmemory", 0)
    eventually(lambda: store.lookup("k").tier == "redis")
    assert store.get("k") == "new"


@pytest.mark.parametrize("journal", [True, False])
def test_convergence_of_a_key_that_is_not_there_and_is_read_all_the_time(
    redis_server: RedisServer, redis_url: str, tmp_path: Path, journal: bool
) -> None:
    """Nobody knows since when it is absent, so each read may know something newer than what is being replayed."""
    record = RedisTier(redis_url, name="record", timeout=5.0)
    tiers = [MemoryTier(max_entries=0), RedisTier(redis_server.url), record]
    with TieredBackend(tiers, journal=tmp_path / "journal" if journal else None) as store:
        assert store.get("hot") is None
        redis_server.freeze()
        assert store.get("hot") is None  # which a single failure does not open the breaker for
        redis_server.thaw()

        def settled() -> bool:
            assert store.get("hot") is None
            return not store.health()["redis"]["owed"]

        eventually(settled)


def test_a_write_that_a_killed_process_could_not_publish_is_replayed_by_the_next(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    with TieredBackend([RedisTier(redis_server.url), FileTier(tmp_path)]) as store:
        store.set("k", "old")
    record = FileTier(tmp_path)
    with TieredBackend([record]) as store:  # what a process leaves that dies between the commit and Redis
        from tiered.entry import draft, namespace_seed
        from tiered.tiers.base import Write

        payload = draft(namespace_seed("default"), "k", store._core.chain.codec.encode("new"), 1)
        record.commit("default", [Write("k", payload)], marks=["redis"], now=1)
    with TieredBackend([RedisTier(redis_server.url), FileTier(tmp_path)]) as store:
        store.get("k")  # starts the keeper
        eventually(lambda: store.lookup("k").value == "new")
        eventually(lambda: in_service(store) and not store._core.chain.record.journal.pending("redis", limit=1))


def test_a_redis_that_restarted_is_not_believed(redis_server: RedisServer, raw: redis.Redis, tmp_path: Path) -> None:
    with TieredBackend([RedisTier(redis_server.url), FileTier(tmp_path)]) as store:
        store.set("k", "old")
        before = store._core.space.generation
        raw.save()
        redis_server.kill()
        store.set("k", "new")
        for _ in range(10):
            store.get("k")
        redis_server.start()  # loads the snapshot with the old value
        eventually(lambda: in_service(store))
        assert store.get("k") == "new"
        assert store._core.space.generation > before


def test_construction_and_every_operation_answer_with_no_redis_at_all(tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    with TieredBackend([MemoryTier(), RedisTier(url), FileTier(tmp_path)]) as store:
        store.set_many({"a": 1, "b": 2})
        assert store.get_many(["a", "b", "c"]) == {"a": 1, "b": 2}
        assert store.increment("a") == 2 and store.delete("b") and list(store.keys()) == ["a"]
        store.clear()
        assert "a" not in store


def test_a_password_a_foreign_type_and_damage_degrade(
    redis_server: RedisServer, raw: redis.Redis, tmp_path: Path
) -> None:
    with TieredBackend([RedisTier(redis_server.url), FileTier(tmp_path)]) as store:
        store.set_many({"list": 1, "damaged": 2, "cut": 3, "moved": 4})
        where = f"tiered:{store._core.space.scope}"
        frame = raw.get(f"{where}:damaged")
        assert isinstance(frame, bytes)
        raw.delete(f"{where}:list")
        raw.rpush(f"{where}:list", "x")
        raw.set(f"{where}:damaged", frame[:-1] + bytes([frame[-1] ^ 1]))
        raw.set(f"{where}:cut", frame[:20])
        raw.set(f"{where}:moved", frame)
        assert [store.get(key) for key in ("list", "damaged", "cut", "moved")] == [1, 2, 3, 4]
        assert store.stats()["tiers"]["redis"]["corrupt"] >= 3
        assert store.health()["redis"]["breaker"] == "closed"
        raw.config_set("requirepass", "secret")
        raw.client_kill_filter(_type="normal", skipme=True)
        assert store.set("list", 5).tiers["file"] == "ok" and store.get("list") == 5
    tier = RedisTier(redis_server.url)
    with pytest.raises(StoreUnavailable, match="password") as caught:
        tier.get("default:1", "k")
    assert caught.value.reason is Reason.AUTH
    tier.close()


def test_failover_a_redis_whose_password_was_changed_costs_nothing_until_it_lets_us_in_again(
    store: TieredBackend, raw: redis.Redis
) -> None:
    store.set("k", 1)
    raw.ping()  # this connection stays, and may undo it
    raw.config_set("requirepass", "another")
    raw.client_kill_filter(_type="normal", skipme=True)
    raw.client_kill_filter(_type="pubsub", skipme=True)
    outcomes = [store.set(f"k{n}", n).tiers for n in range(10)]
    assert [store.get(f"k{n}") for n in range(10)] == list(range(10)) and store.get("k") == 1
    assert outcomes[-1] == {"memory": "skipped", "redis": "queued", "file": "ok"}
    state = store.health()["redis"]
    assert state["breaker"] != "closed" and "check the password" in state["detail"]
    raw.config_set("requirepass", "")
    eventually(lambda: in_service(store))
    assert store.lookup("k9").tier == "redis" and store.verify().converged


def test_versions_are_compared_exactly_in_redis(redis_server: RedisServer, raw: redis.Redis) -> None:
    from tiered.entry import draft, namespace_seed

    tier = RedisTier(redis_server.url)
    base = draft(namespace_seed("n"), "k", b"\x01", 1)
    for version in (1, 2**32 - 1, 2**32, 2**53, 2**53 + 1, 2**63 - 2, 2**63 - 1):
        assert put(tier, "n:1", "k", base.seal(version)) is True
        assert put(tier, "n:1", "k", base.seal(version)) is False
        assert put(tier, "n:1", "k", base.seal(version - 1)) is False
    raw.script_flush()
    assert tier.put_many("n:1", [("x", base.seal(5)), ("x", base.seal(4)), ("y", base.seal(1))]) == [True, False, True]
    assert 0 < raw.pttl("tiered:n:1:x") <= 86_400_000
    tier.close()


def test_a_read_only_replica_refuses_writes_as_not_applied(redis_server: RedisServer, raw: redis.Redis) -> None:
    raw.replicaof("127.0.0.1", str(free_port()))
    tier = RedisTier(redis_server.url)
    with pytest.raises(NotApplied):
        put(tier, "n:1", "k", b"\xf5t\x01" + b"\0" * 4 + b"\x00\x00\x00\x01" + b"\0" * 30)
    tier.close()
