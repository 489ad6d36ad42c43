"""RedisTier over a real Redis Cluster: routing, redirections, failover, and what a cluster cannot be."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.redis_topologies import RedisCluster, eventually
from tests.servers import free_port
from tiered import FileTier, MemoryTier, RedisTier, TieredBackend
from tiered.cli.doctor.redis import check_redis
from tiered.entry import Draft, draft, namespace_seed, version_of
from tiered.errors import Ambiguous, ConfigError, NotApplied, Reason, StoreError, StoreUnavailable
from tiered.testing.contract import CacheContract, put
from tiered.testing.enumerable_contract import EnumerableContract
from tiered.tiers.redis_masters import FAILURES

SCOPE = "n:1"
SLOW = 5.0
"""A time limit that a loaded machine does not reach."""
KEYS = [f"k{n}" for n in range(300)]


def frame(key: str, version: int = 1, payload: bytes = b"v") -> bytes:
    return value(key, payload).seal(version)


def value(key: str, payload: bytes = b"v") -> Draft:
    return draft(namespace_seed("n"), key, payload, 1)


@pytest.fixture(scope="module")
def whole_cluster() -> Iterator[RedisCluster]:
    cluster = RedisCluster(replicas=1)
    yield cluster
    cluster.stop()


@pytest.fixture
def cluster(whole_cluster: RedisCluster) -> RedisCluster:
    """Three masters, empty, the first with a replica; a test that harms them takes `frail`."""
    whole_cluster.empty()
    return whole_cluster


@pytest.fixture
def frail() -> Iterator[RedisCluster]:
    cluster = RedisCluster()
    yield cluster
    cluster.stop()


@pytest.fixture
def replicated() -> Iterator[RedisCluster]:
    """As `frail`, the first master with a replica."""
    cluster = RedisCluster(replicas=1)
    yield cluster
    cluster.stop()


@pytest.fixture
def tier(cluster: RedisCluster) -> Iterator[RedisTier]:
    tier = RedisTier(cluster.url, timeout=SLOW, connect_timeout=SLOW)
    yield tier
    tier.close()


class TestTheContract(CacheContract, EnumerableContract):
    @pytest.fixture
    def tier(self, cluster: RedisCluster) -> Iterator[RedisTier]:
        tier = RedisTier(cluster.url, timeout=SLOW, connect_timeout=SLOW)
        yield tier
        tier.close()


def test_keys_are_spread_over_all_masters_and_batches_keep_their_order(cluster: RedisCluster, tier: RedisTier) -> None:
    assert tier.put_many(SCOPE, [(key, frame(key)) for key in KEYS]) == [True] * len(KEYS)
    assert [cluster.ask(master, "DBSIZE") > 50 for master in cluster.masters] == [True] * 3
    assert tier.get_many(SCOPE, [*KEYS, "absent"]) == [*map(frame, KEYS), None]
    assert tier.get(SCOPE, "k7") == frame("k7")


def test_keys_of_one_slot_travel_together(cluster: RedisCluster, tier: RedisTier) -> None:
    keys = [f"{{tag}}{n}" for n in range(50)]
    items = [(key, frame(key)) for key in keys] + [(keys[0], frame(keys[0], 3)), (keys[0], frame(keys[0], 2))]
    assert tier.put_many(SCOPE, items) == [True] * 51 + [False]
    assert tier.get_many(SCOPE, keys) == [frame(keys[0], 3), *map(frame, keys[1:])]
    assert sorted(cluster.ask(master, "DBSIZE") for master in cluster.masters) == [0, 0, 50]


def test_scripts_come_back_after_a_flush(cluster: RedisCluster, tier: RedisTier) -> None:
    for version, do in enumerate((tier.put_many, lambda scope, items: [put(tier, scope, *it) for it in items]), 1):
        for master in cluster.masters:
            cluster.ask(master, "SCRIPT", "FLUSH")
        assert do(SCOPE, [(key, frame(key, version)) for key in KEYS]) == [True] * len(KEYS)


def test_another_run_of_any_master_is_another_server_and_ends_subscriptions(frail: RedisCluster) -> None:
    tiers = [RedisTier(frail.url, timeout=SLOW, connect_timeout=SLOW) for _ in range(2)]
    first, other = (tier.probe() for tier in tiers)
    assert first == other == tiers[0].probe()
    subscription = tiers[0].subscribe()
    subscription.receive()
    frail.masters[2].restart()
    eventually(frail.whole)
    key = next(key for key in KEYS if frail.owner(f"tiered:n:1:{key}") is frail.masters[2])
    eventually(lambda: reason(tiers[1], key) is Reason.RESTARTED)
    assert tiers[0].probe() == tiers[1].probe() != first
    assert reason(tiers[1], key) is None
    with pytest.raises(StoreUnavailable):
        subscription.receive()
    subscription.close()
    for tier in tiers:
        tier.close()


def reason(tier: RedisTier, key: str) -> Reason | None:
    """Why `key` cannot be read."""
    try:
        tier.get(SCOPE, key)
    except StoreError as error:
        return error.reason
    return None


def test_a_slot_that_moves_to_another_master_is_followed(cluster: RedisCluster, tier: RedisTier) -> None:
    """While it moves its keys are here or there (ASK, TRYAGAIN), afterwards there (MOVED); nothing is another server."""
    keys = [f"{{moving}}{n}" for n in range(20)]
    tier.probe()
    tier.put_many(SCOPE, [(key, frame(key)) for key in keys[:10]])
    source = cluster.owner("{moving}")
    target = next(master for master in cluster.masters if master is not source)
    finish = cluster.migrate("{moving}", target)
    cluster.ask(
        source, "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *(f"tiered:n:1:{k}" for k in keys[:5])
    )
    assert tier.get_many(SCOPE, keys) == [*map(frame, keys[:10]), *[None] * 10]
    assert [tier.get(SCOPE, key) for key in (keys[0], keys[9], keys[15])] == [frame(keys[0]), frame(keys[9]), None]
    assert put(tier, SCOPE, keys[0], frame(keys[0], 2)) and put(tier, SCOPE, keys[15], frame(keys[15], 2))
    assert tier.put_many(SCOPE, [(key, frame(key, 2)) for key in keys]) == [False, *[True] * 14, False, *[True] * 4]
    finish()
    assert cluster.owner("{moving}") is target
    assert tier.put_many(SCOPE, [(key, frame(key, 3)) for key in keys]) == [True] * 20
    assert tier.get_many(SCOPE, keys) == [frame(key, 3) for key in keys]
    cluster.migrate("{moving}", source)()


def test_a_new_master_is_followed_while_it_is_filled_and_else_another_server(frail: RedisCluster) -> None:
    """Adding a node costs nothing to a process that sees the slot move: what it imports comes from a known master."""
    seeing, absent = (RedisTier(frail.url, timeout=SLOW, connect_timeout=SLOW) for _ in range(2))
    before = [tier.probe() for tier in (seeing, absent)]
    added, home = frail.add(), frail.owner("tiered:n:1:k")
    finish = frail.migrate("tiered:n:1:k", added)
    assert seeing.get(SCOPE, "k") is None and put(seeing, SCOPE, "k", frame("k"))
    finish()
    assert seeing.get(SCOPE, "k") == frame("k") and frail.owner("tiered:n:1:k") is added
    assert seeing._link._masters.nodes[
        "127.0.0.1", added.port
    ].link.run_id  # from now on, another run of it is another server
    with pytest.raises(StoreUnavailable) as read:
        absent.get(SCOPE, "k")
    with pytest.raises(NotApplied) as written:
        put(absent, SCOPE, "k", frame("k", 2))
    assert read.value.reason is written.value.reason is Reason.RESTARTED
    assert absent.probe() not in before
    assert absent.get(SCOPE, "k") == frame("k")
    frail.migrate("tiered:n:1:k", home)()
    for version, tier in enumerate((seeing, absent), 2):
        assert put(tier, SCOPE, "k", frame("k", version)) and tier.get(SCOPE, "k") == frame("k", version)
        tier.close()


def test_one_address_is_enough_a_replica_and_a_dead_one_too(cluster: RedisCluster) -> None:
    seeds = f"127.0.0.1:{free_port()},127.0.0.1:{cluster.replicas[0].port}"
    tier = RedisTier(f"redis+cluster://{seeds}", timeout=SLOW, connect_timeout=SLOW)
    assert tier.put_many(SCOPE, [(key, frame(key)) for key in KEYS]) == [True] * len(KEYS)
    assert tier.health().ok
    tier.close()


def test_a_batch_of_which_one_master_failed_is_ambiguous_or_not_applied(cluster: RedisCluster, tier: RedisTier) -> None:
    cluster.ask(cluster.owner("tiered:n:1:bad"), "RPUSH", "tiered:n:1:bad", "theirs")
    with pytest.raises(NotApplied) as refused:
        tier.put_many(SCOPE, [("bad", frame("bad"))])
    with pytest.raises(Ambiguous) as partly:
        tier.put_many(SCOPE, [(key, frame(key)) for key in (*KEYS, "bad")])
    beside = next(key for key in KEYS if cluster.owner(f"tiered:n:1:{key}") is cluster.owner("tiered:n:1:bad"))
    with pytest.raises(Ambiguous):
        tier.put_many(SCOPE, [(key, frame(key, 2)) for key in ("bad", beside)])
    assert refused.value.reason is partly.value.reason is Reason.MISUSE
    with pytest.raises(StoreUnavailable):
        tier.get(SCOPE, "bad")
    assert tier.get_many(SCOPE, ["bad", "absent"]) == [None, None]


def test_a_hung_master_takes_the_tier_out_of_service_and_not_a_time_limit_for_every_key(frail: RedisCluster) -> None:
    tier = RedisTier(frail.url, timeout=0.5, connect_timeout=SLOW)
    tier.put_many(SCOPE, [(key, frame(key)) for key in KEYS])
    hung = frail.masters[2]
    mine = [key for key in KEYS if frail.owner(f"tiered:n:1:{key}") is hung]
    hung.freeze()
    for key in mine[:FAILURES]:
        with pytest.raises(StoreUnavailable) as caught:
            tier.get(SCOPE, key)
        assert caught.value.reason is Reason.TIMEOUT
    with pytest.raises(
        StoreUnavailable, match=f"{hung.port} failed {FAILURES} times in a row: Timeout.* hangs"
    ) as caught:
        tier.get(SCOPE, next(key for key in KEYS if key not in mine))
    assert caught.value.reason.trips_breaker
    with pytest.raises(NotApplied):
        put(tier, SCOPE, mine[0], frame(mine[0], 2))
    with pytest.raises(StoreUnavailable):
        tier.probe()
    hung.thaw()
    eventually(lambda: answers(tier, mine[0]))
    tier.close()


def answers(tier: RedisTier, key: str) -> bool:
    try:
        return tier.get(SCOPE, key) is not None
    except StoreError:
        return False


def test_a_master_that_was_replaced_and_reinstated_unnoticed_is_greeted_anew(replicated: RedisCluster) -> None:
    """The same process with another history: what it has may be older than what its replacement was given."""
    tier = RedisTier(replicated.url, timeout=SLOW, connect_timeout=SLOW)
    before, subscription = tier.probe(), tier.subscribe()
    key = next(key for key in KEYS if replicated.owner(f"tiered:n:1:{key}") is replicated.masters[0])
    put(tier, SCOPE, key, frame(key))
    for promoted in (replicated.replicas[0], replicated.masters[0]):
        replicated.ask(promoted, "CLUSTER", "FAILOVER", "TAKEOVER")
        eventually(lambda server=promoted: replicated.owner(f"tiered:n:1:{key}") is server)
        eventually(replicated.whole)
    other = [key for key in KEYS if replicated.owner(f"tiered:n:1:{key}") is not replicated.masters[0]]
    end = time.monotonic() + 1.1  # longer than IDLE, in which a failover by vote cannot happen twice
    while time.monotonic() < end:
        tier.get(SCOPE, other[0])
    with pytest.raises(StoreUnavailable) as caught:
        tier.get(SCOPE, key)
    assert caught.value.reason is Reason.RESTARTED
    subscription.receive()
    assert tier.probe() != before
    with pytest.raises(StoreUnavailable, match="another server"):
        subscription.receive()
    subscription.close()
    tier.close()


def test_failover_no_call_fails_nothing_old_is_read_and_a_new_generation_begins(
    replicated: RedisCluster, tmp_path: Path
) -> None:
    url = f"memory://?max_entries=0,{replicated.url}?timeout=500ms,file:{tmp_path}"
    with TieredBackend.from_url(url) as store, TieredBackend.from_url(url) as reader:
        store.set_many({key: "old" for key in KEYS})
        eventually(lambda: store.lookup("k0").tier == reader.lookup("k0").tier == "redis")
        generation = store._core.space.generation
        replicated.masters[0].kill()
        for key in KEYS:
            store.set(key, "new")
            assert store.get(key) == "new"
        store.delete("k0")
        assert store.health()["redis"]["breaker"] == "open"
        eventually(lambda: replicated.owner("tiered:default:1:k").process.poll() is None and in_service(store))
        eventually(lambda: in_service(reader))
        assert store._core.space.generation > generation
        for chain in (store, reader):
            assert chain.get_many(KEYS) == dict.fromkeys(KEYS[1:], "new")
        eventually(lambda: {store.lookup(key).tier for key in KEYS} == {"redis"})
        assert {store.lookup(key).value for key in KEYS[1:]} == {"new"} and store.get("k0") is None


def in_service(store: TieredBackend) -> bool:
    state = store.health()["redis"]
    return bool(state["breaker"] == "closed" and not state["owed"])


def test_what_is_put_on_any_master_is_told_and_alive_comes_after_it(cluster: RedisCluster, tier: RedisTier) -> None:
    listener = RedisTier(cluster.url, timeout=SLOW, connect_timeout=SLOW)
    subscription, told = listener.subscribe(), list[tuple[str, int]]()

    def until(kind: str) -> bool:
        received = subscription.receive()
        told.extend(it for each in received for it in each.versions)
        return kind in [each.kind for each in received]

    subscription.add("n")
    eventually(lambda: until("subscribed"))
    tier.put_many(SCOPE, [(key, frame(key, 5)) for key in KEYS], tell=True)
    subscription.beat()
    eventually(lambda: until("alive"))
    assert set(told) == {(key, 5) for key in KEYS}
    subscription.beat()
    cluster_again = listener.probe()
    assert cluster_again == tier.probe()
    listener.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        listener.subscribe()
    subscription.close()


def test_a_cluster_keeps_where_a_record_was(cluster: RedisCluster) -> None:
    tier = RedisTier(cluster.url, timeout=SLOW)
    tier.note("a-store:0", "1-2-3")
    assert (tier.noted("a-store:0"), tier.noted("another:0")) == ("1-2-3", None)
    tier.close()


def test_the_memory_of_another_process_follows(cluster: RedisCluster, tmp_path: Path) -> None:
    chains = [
        TieredBackend([MemoryTier(), RedisTier(cluster.url, timeout=SLOW), FileTier(tmp_path)], staleness=60.0)
        for _ in range(2)
    ]
    writer, reader = chains
    writer.set_many({key: 1 for key in KEYS[:30]})
    eventually(lambda: reader.get_many(KEYS[:30]) == dict.fromkeys(KEYS[:30], 1))
    eventually(lambda: reader._core.space.subscribed)
    reader.get_many(KEYS[:30])
    writer.set_many({key: 2 for key in KEYS[:30]})
    eventually(lambda: reader.get_many(KEYS[:30]) == dict.fromkeys(KEYS[:30], 2))
    for chain in chains:
        chain.close()


def test_leases_are_taken_on_the_master_of_their_key(cluster: RedisCluster, tier: RedisTier) -> None:
    for key in KEYS[:20]:
        assert tier.leases.take("n", key, "mine", 60.0) and not tier.leases.take("n", key, "theirs", 60.0)
        assert tier.leases.extend("n", key, "mine", 60.0) and not tier.leases.extend("n", key, "theirs", 60.0)
    assert 0 not in [cluster.ask(master, "DBSIZE") for master in cluster.masters]
    tier.leases.release("n", "k0", "mine")
    assert tier.leases.take("n", "k0", "theirs", 60.0)


def test_a_cluster_is_no_store_of_record_and_says_why(cluster: RedisCluster, tier: RedisTier) -> None:
    with pytest.raises(ConfigError, match="one transaction over several keys"):
        TieredBackend.from_url(f"memory://,{cluster.url}")
    with pytest.raises(ConfigError, match="file:"):
        tier.read("n", "k")


def test_threads_share_the_masters(tier: RedisTier) -> None:
    failures: list[BaseException] = []

    def work(mine: int) -> None:
        try:
            for version in range(1, 40):
                items = [(key, frame(key, 8 * version + mine)) for key in KEYS[:40]]
                tier.put_many(SCOPE, items)
                assert all(version_of(it or b"") >= 8 * version + mine for it in tier.get_many(SCOPE, KEYS[:40]))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_fork_leaves_the_parents_connections_alone(tier: RedisTier) -> None:
    tier.put_many(SCOPE, [(key, frame(key)) for key in KEYS])
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if tier.get_many(SCOPE, KEYS) == list(map(frame, KEYS)) else 2
        finally:
            os._exit(code)
    assert tier.get_many(SCOPE, KEYS) == list(map(frame, KEYS))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_server_without_cluster_says_so(redis_url: str) -> None:
    tier = RedisTier(redis_url.replace("redis://", "redis+cluster://"), timeout=SLOW, connect_timeout=SLOW)
    with pytest.raises(StoreUnavailable, match="cluster support disabled"):
        tier.get(SCOPE, "k")
    with pytest.raises(NotApplied, match="cluster support disabled"):
        put(tier, SCOPE, "k", frame("k"))
    assert not tier.health().ok
    tier.close()


def test_no_node_at_all_is_told_in_time() -> None:
    tier = RedisTier(f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{free_port()}")
    for failing in (lambda: tier.get(SCOPE, "k"), lambda: tier.get_many(SCOPE, KEYS), tier.probe, tier.subscribe):
        with pytest.raises(StoreUnavailable) as caught:
            failing()
        assert caught.value.reason is Reason.CONNECTION
    with pytest.raises(NotApplied):
        put(tier, SCOPE, "k", frame("k"))
    tier.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        tier.get(SCOPE, "k")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis+cluster://:s3cret@host:7000,:7001", "host"),
        ("redis+cluster://:s3cret@host:x", "port"),
        ("redis+cluster://:s3cret@host:7000/3", "database 0"),
        ("redis+cluster://:s3cret@host:7000?db=3", "database 0"),
        ("redis+cluster://:s3cret@host:7000?ssl_ca_certs=x", "rediss"),
        ("redis+clutser://:s3cret@host:7000", "redis\\+cluster"),
    ],
)
def test_a_url_that_cannot_work_is_refused_at_once(url: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        RedisTier(url)
    assert "s3cret" not in str(caught.value)


def test_doctor_looks_at_every_master(cluster: RedisCluster) -> None:
    tier = RedisTier(cluster.url, timeout=SLOW, connect_timeout=SLOW)
    try:
        findings = list(check_redis(tier, record=False))
    finally:
        tier.close()
    for check in ("redis.version", "redis.eviction", "redis.clock"):
        assert len({finding.text for finding in findings if finding.check == check}) == 3, findings
    assert findings[-1].check == "redis.permissions" and findings[-1].level == "ok", findings[-1]


def test_a_url_for_one_server_that_meets_a_cluster_says_which_url_it_is(cluster: RedisCluster) -> None:
    (url, *_) = cluster.url.replace("redis+cluster:", "redis:").split(",")
    with (
        TieredBackend([RedisTier(url, timeout=SLOW, connect_timeout=SLOW)]) as store,
        pytest.raises(StoreError, match=r"node of a Redis Cluster: write redis\+cluster://"),
    ):
        for key in KEYS:
            store.set(key, 1)


def test_a_url_for_a_cluster_that_meets_one_server_says_which_url_it_is(redis_url: str) -> None:
    tier = RedisTier(redis_url.replace("redis:", "redis+cluster:").removesuffix("/0"))
    assert "for one server write redis://" in tier.health().detail
    tier.close()
