"""RedisTier against real servers: what it stores, what it refuses, and which error tells what."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from math import inf
from typing import Any

import pytest
import redis

from tests.servers import RedisServer, free_port
from tests.waiting import LIMIT, started
from tiered import RedisTier, TieredBackend
from tiered.entry import Draft, draft, namespace_seed, tombstone, version_of
from tiered.errors import Ambiguous, ConfigError, NotApplied, Reason, StoreError, StoreUnavailable
from tiered.testing.contract import put
from tiered.tiers import redis_link
from tiered.tiers.base import RETENTION_MS, Write
from tiered.tiers.redis_link import Link
from tiered.tiers.redis_pool import BELIEF

SCOPE = "n:1"
SEED = namespace_seed("n")
SLOW = 5.0
"""A time limit that a loaded machine does not reach."""


def value(key: str, payload: bytes = b"v", keep_until: int = 0) -> Draft:
    return draft(SEED, key, payload, 1, expires_at=keep_until, keep_until=keep_until)


def now() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
def server(redis_server: RedisServer) -> RedisServer:
    return redis_server


@pytest.fixture
def tier(server: RedisServer) -> Iterator[RedisTier]:
    tier = RedisTier(server.url, timeout=SLOW, connect_timeout=SLOW)
    yield tier
    tier.close()


@pytest.fixture
def raw(server: RedisServer) -> Iterator[Any]:
    with redis.Redis.from_url(server.url) as client:
        yield client


@pytest.mark.parametrize("version", [2, 2**32 - 1, 2**32, 2**32 + 1, 2**53, 2**53 + 1, 2**63 - 1])
def test_only_a_newer_version_replaces(tier: RedisTier, version: int) -> None:
    frames = {v: value("k").seal(v) for v in (version - 1, version)}
    assert put(tier, SCOPE, "k", frames[version - 1]) is True
    assert put(tier, SCOPE, "k", frames[version]) is True
    assert put(tier, SCOPE, "k", frames[version]) is False
    assert put(tier, SCOPE, "k", frames[version - 1]) is False
    assert tier.get(SCOPE, "k") == frames[version]


@pytest.mark.parametrize("foreign", [b"", b"x", b"\xff" * 40, b"\xf5t\x02" + b"\xff" * 40])
def test_bytes_that_are_no_frame_are_replaced(tier: RedisTier, raw: Any, foreign: bytes) -> None:
    raw.set("tiered:n:1:k", foreign)
    assert tier.get(SCOPE, "k") == foreign
    assert put(tier, SCOPE, "k", value("k").seal(1)) is True


def test_writers_that_race_leave_the_newest(tier: RedisTier) -> None:
    def write(first: int) -> None:
        for version in range(first, 400, 4):
            put(tier, SCOPE, "k", value("k").seal(version))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert version_of(tier.get(SCOPE, "k") or b"") == 399


def test_scripts_come_back_after_a_flush(tier: RedisTier, raw: Any) -> None:
    put(tier, SCOPE, "k", value("k").seal(1))
    raw.script_flush()
    assert put(tier, SCOPE, "k", value("k").seal(2)) is True
    raw.script_flush()
    assert tier.put_many(SCOPE, [(f"k{n}", value(f"k{n}").seal(1)) for n in range(450)]) == [True] * 450
    raw.script_flush()
    assert tier.commit("n", [Write("r", value("r"))], now=now()).written[0].version


def test_every_key_of_the_cache_role_expires(tier: RedisTier, raw: Any) -> None:
    until = now() + 10_000
    tier.put_many(
        SCOPE,
        [
            ("for ever", value("for ever").seal(1)),
            ("soon", value("soon", keep_until=until).seal(1)),
            ("late", value("late", keep_until=until + 10**11).seal(1)),
            ("grave", tombstone(SEED, "grave", now()).seal(1)),
        ],
    )
    left = {key: raw.pttl(f"tiered:n:1:{key}") for key in ("for ever", "soon", "late", "grave")}
    assert 86_000_000 < left["for ever"] <= 86_400_000 and 86_000_000 < left["late"] <= 86_400_000
    assert RETENTION_MS < left["soon"] <= RETENTION_MS + 10_000
    assert 0 < left["grave"] <= RETENTION_MS


def test_the_record_role_keeps_entries_without_expiry(tier: RedisTier, raw: Any) -> None:
    writes = [Write("k", value("k")), Write("t", value("t", keep_until=now() + 10**11)), Write("d", value("d"))]
    tier.commit("n", writes, now=now())
    tier.commit("n", [Write("d", tombstone(SEED, "d", now()))], now=now())
    assert raw.pttl("tiered:n:1:k") == -1
    assert raw.pttl("tiered:n:1:t") > 10**11
    assert 0 < raw.pttl("tiered:n:1:d") <= RETENTION_MS


def test_a_hung_server_costs_no_more_than_the_time_limit(server: RedisServer) -> None:
    tier = RedisTier(server.url, timeout=0.2, connect_timeout=0.2)
    tier.get(SCOPE, "k")
    server.freeze()
    started = time.monotonic()
    with pytest.raises(Ambiguous) as written:  # on the connection that was open
        put(tier, SCOPE, "k", value("k").seal(1))
    with pytest.raises(StoreUnavailable) as read:
        tier.get(SCOPE, "k")
    assert time.monotonic() - started < 2.0
    assert read.value.reason is Reason.TIMEOUT and written.value.reason is Reason.TIMEOUT
    assert read.value.tier == "redis" and read.value.reason.trips_breaker
    server.thaw()
    tier.close()


def test_a_late_reply_never_answers_another_question(server: RedisServer) -> None:
    tier = RedisTier(server.url, timeout=0.3, connect_timeout=SLOW)
    tier.put_many(SCOPE, [(key, value(key).seal(1)) for key in "ab"])
    server.freeze()
    with pytest.raises(StoreUnavailable):
        tier.get(SCOPE, "a")
    server.thaw()
    assert [tier.get(SCOPE, "b") for _ in range(5)] == [value("b").seal(1)] * 5
    tier.close()


def test_a_killed_server_and_its_return(tier: RedisTier, server: RedisServer) -> None:
    put(tier, SCOPE, "k", value("k").seal(1))
    server.kill()
    with pytest.raises(StoreUnavailable) as first:
        tier.get(SCOPE, "k")
    with pytest.raises(NotApplied) as refused:  # no connection: it was never sent
        put(tier, SCOPE, "k", value("k").seal(2))
    assert first.value.reason is Reason.CONNECTION and refused.value.reason is Reason.CONNECTION
    server.start()
    assert tier.get(SCOPE, "k") is None


def test_a_write_whose_connection_broke_is_ambiguous(tier: RedisTier, server: RedisServer) -> None:
    put(tier, SCOPE, "k", value("k").seal(1))
    server.kill()
    with pytest.raises(Ambiguous):
        put(tier, SCOPE, "k", value("k").seal(2))


def test_another_run_of_the_server_is_not_believed(tier: RedisTier, server: RedisServer) -> None:
    run = tier.probe()
    server.restart()
    with pytest.raises(StoreUnavailable):
        tier.get(SCOPE, "k")
    with pytest.raises(StoreUnavailable) as caught:
        tier.get(SCOPE, "k")
    assert caught.value.reason is Reason.RESTARTED
    assert tier.probe() != run
    assert tier.get(SCOPE, "k") is None


def test_connections_to_a_master_that_was_replaced_are_not_used_though_it_answers(tier: RedisTier) -> None:
    tier.probe()
    wires = [tier._link.pool._take(False) for _ in range(3)]
    for wire in wires:
        tier._link.pool.give_back(wire)
    put(tier, SCOPE, "k", value("k").seal(1))
    promoted = RedisServer()
    try:
        tier._link.pool._target.arguments["port"] = promoted.port  # as a sentinel says
        tier.probe()
        assert [tier.get(SCOPE, "k") for _ in range(4)] == [None] * 4
        assert tier._link.ask_many([b"PING\r\n"], write=False) and len(tier._link.pool.opened) == 1
    finally:
        promoted.stop()


def test_a_connection_that_nobody_has_any_more_has_no_place(server: RedisServer) -> None:
    """As when a signal handler raises just when one was taken: else the last call of so many would find all in use for ever."""
    tier = RedisTier(server.url, timeout=SLOW, connect_timeout=SLOW, max_connections=2)
    wires = [tier._link.pool.lend(False) for _ in range(2)]
    assert len(tier._link.pool.opened) == 2
    del wires
    assert put(tier, SCOPE, "k", value("k").seal(1)) and len(tier._link.pool.opened) == 1
    tier.close()
    assert not tier._link.pool.opened


@pytest.mark.parametrize("many", [False, True])
def test_a_connection_on_which_the_server_read_too_much_is_not_used_again(
    tier: RedisTier, monkeypatch: pytest.MonkeyPatch, many: bool
) -> None:
    """It answers, and closes it a moment later: the next caller's write would be ambiguous."""
    too_much = b"*1\r\n$-5\r\n"
    tier.probe()
    tier.get(SCOPE, "k")
    if many:
        (reply,) = tier._link.ask_many([too_much], write=True)
        assert "Protocol error" in str(reply)
    else:
        with monkeypatch.context() as patched, pytest.raises(NotApplied, match="Protocol error"):
            patched.setattr(redis_link, "pack", lambda _: too_much)
            tier._link.call("SET", write=True)
    assert put(tier, SCOPE, "k", value("k").seal(1))


def test_a_password_that_is_missing_or_wrong_is_told_and_not_shown() -> None:
    server = RedisServer("--requirepass", "s3cret")
    try:
        for url in (server.url, server.url.replace("//", "//:wr0ng@")):
            tier = RedisTier(url, timeout=SLOW, connect_timeout=SLOW)
            with pytest.raises(StoreUnavailable, match="redis://:PASSWORD@host") as caught:
                tier.get(SCOPE, "k")
            assert caught.value.reason is Reason.AUTH and not caught.value.reason.trips_breaker
            assert "wr0ng" not in str(caught.value) + repr(tier) + str(tier.health())
            assert not tier.health().ok
            tier.close()
        good = RedisTier(server.url.replace("//", "//:s3cret@"), timeout=SLOW, connect_timeout=SLOW)
        assert put(good, SCOPE, "k", value("k").seal(1)) and "s3cret" not in repr(good)
        good.close()
    finally:
        server.stop()


def test_a_user_without_permission_is_misuse(tier: RedisTier, raw: Any, server: RedisServer) -> None:
    raw.execute_command("ACL", "SETUSER", "reader", "on", ">pw", "~*", "+get", "+info")
    reader = RedisTier(server.url.replace("//", "//reader:pw@"), timeout=SLOW, connect_timeout=SLOW)
    assert reader.get(SCOPE, "k") is None
    with pytest.raises(NotApplied) as caught:
        put(reader, SCOPE, "k", value("k").seal(1))
    assert caught.value.reason is Reason.MISUSE
    reader.close()


def test_a_read_only_replica_trips(tier: RedisTier, raw: Any) -> None:
    raw.replicaof("127.0.0.1", str(free_port()))
    with pytest.raises(NotApplied) as caught:
        put(tier, SCOPE, "k", value("k").seal(1))
    assert caught.value.reason is Reason.OTHER and caught.value.reason.trips_breaker


def test_a_full_server_says_so_and_still_reads(tier: RedisTier, raw: Any) -> None:
    put(tier, SCOPE, "k", value("k").seal(1))
    raw.config_set("maxmemory", 1)
    with pytest.raises(NotApplied, match="maxmemory") as caught:
        put(tier, SCOPE, "k", value("k").seal(2))
    assert caught.value.reason is Reason.FULL
    with pytest.raises(NotApplied):
        tier.commit("n", [Write("k", value("k"))], now=now())
    assert tier.get(SCOPE, "k") == value("k").seal(1)


def test_a_key_of_another_type_is_misuse_and_left_alone(tier: RedisTier, raw: Any) -> None:
    raw.rpush("tiered:n:1:k", "theirs")
    with pytest.raises(StoreUnavailable) as read:
        tier.get(SCOPE, "k")
    with pytest.raises(NotApplied) as written:
        put(tier, SCOPE, "k", value("k").seal(1))
    assert read.value.reason is Reason.MISUSE and written.value.reason is Reason.MISUSE
    assert raw.lrange("tiered:n:1:k", 0, -1) == [b"theirs"]
    assert tier.get_many(SCOPE, ["k", "x"]) == [None, None]


def test_a_full_pool_is_not_the_servers_failure(server: RedisServer) -> None:
    tier = RedisTier(server.url, timeout=0.5, connect_timeout=SLOW, max_connections=1)
    tier.get(SCOPE, "k")
    server.freeze()
    failures: list[StoreError] = []

    def read() -> None:
        with pytest.raises(StoreUnavailable) as caught:
            tier.get(SCOPE, "k")
        failures.append(caught.value)

    first = threading.Thread(target=read)
    first.start()
    while tier._link.pool.idle:
        time.sleep(0.001)
    tier._link.pool._timeout = 0.01
    read()
    first.join()
    server.thaw()
    assert [error.reason for error in failures] == [Reason.BUSY, Reason.TIMEOUT]
    assert not Reason.BUSY.trips_breaker
    tier.close()


def test_versions_only_rise_also_when_their_counter_and_the_entries_are_lost(tier: RedisTier, raw: Any) -> None:
    versions = [w.version for w in tier.commit("n", [Write(k, value(k)) for k in "abc"], now=now()).written]
    assert versions == sorted(set(versions)) and versions[0] > 10**15
    raw.flushdb()
    again = tier.commit("n", [Write("a", value("a"))], now=now()).written[0]
    assert versions[-1] < again.version < 2**53
    raw.set("tiered:n:versions", again.version + 10**12)  # a server whose clock was ahead
    assert tier.commit("n", [Write("a", value("a"))], now=now()).written[0].version > again.version + 10**12


def test_a_clear_is_seen_by_a_tier_that_believes_the_old_generation(tier: RedisTier, server: RedisServer) -> None:
    other = RedisTier(server.url, timeout=SLOW, connect_timeout=SLOW)
    tier.commit("n", [Write("k", value("k"))], now=now())
    new = other.clear("n")
    assert tier.read("n", "k") == (new, None)
    other.clear("n")
    done = tier.commit("n", [Write("k", value("k"))], now=now())
    assert done.generation == other.generation("n") > new
    assert other.read("n", "k")[1] == done.written[0].frame
    other.close()


def test_a_bump_keeps_the_entries(tier: RedisTier) -> None:
    before = tier.commit("n", [Write("k", value("k"))], now=now())
    tier.bump()
    generation, frame = tier.read("n", "k")
    assert generation > before.generation and frame == before.written[0].frame


def test_a_scan_takes_its_prefix_literally(tier: RedisTier) -> None:
    keys = ["a*b", "axb", "a?", "a[x]", "a\\", "ä:1"]
    tier.commit("n", [Write(key, value(key)) for key in keys], now=now())

    def scan(prefix: str) -> set[str]:
        found: set[str] = set()
        cursor: str | None = None
        while True:
            page = tier.scan("n", prefix, cursor, 2)
            found |= {key for key, _ in page.items}
            cursor = page.cursor
            if cursor is None:
                return found

    assert scan("") == set(keys)
    assert scan("a*") == {"a*b"} and scan("a[") == {"a[x]"} and scan("a\\") == {"a\\"} and scan("ä") == {"ä:1"}


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redsi://:s3cret@host", "redsi"),
        ("redis://:s3cret@host:99999", "port"),
        ("redis://:s3cret@host:x", "port"),
        ("redis://:s3cret@host/one", "database"),
        ("rediss://:s3cret@host/0?ssl_cert_reqs=none", "insecure_tls"),
    ],
)
def test_a_url_that_cannot_work_is_refused_at_once(url: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        RedisTier(url)
    assert "s3cret" not in str(caught.value)


def test_construction_and_closing_need_no_server() -> None:
    tier = RedisTier(f"redis://127.0.0.1:{free_port()}/0")
    tier.close()
    tier.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        tier.get(SCOPE, "k")


def test_a_fork_leaves_the_parents_connections_alone(tier: RedisTier) -> None:
    put(tier, SCOPE, "k", value("k").seal(1))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if all(tier.get(SCOPE, "k") == value("k").seal(1) for _ in range(20)) else 2
        finally:
            os._exit(code)
    assert all(tier.get(SCOPE, "k") == value("k").seal(1) for _ in range(20))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_missing_password_means_not_applied(tier: RedisTier) -> None:
    server = RedisServer("--requirepass", "s3cret")
    try:
        locked = RedisTier(server.url, timeout=SLOW, connect_timeout=SLOW)
        with pytest.raises(NotApplied) as caught:
            put(locked, SCOPE, "k", value("k").seal(1))
        assert caught.value.reason is Reason.AUTH
        locked.close()
    finally:
        server.stop()


def test_a_batch_that_fails_has_stored_nothing(tier: RedisTier, raw: Any) -> None:
    raw.rpush("tiered:n:1:bad", "theirs")
    with pytest.raises(NotApplied):
        tier.put_many(SCOPE, [("good", value("good").seal(1)), ("bad", value("bad").seal(1))])
    assert tier.get(SCOPE, "good") is None


def test_a_batch_of_which_a_part_was_stored_is_ambiguous(tier: RedisTier, raw: Any) -> None:
    raw.rpush("tiered:n:1:bad", "theirs")
    items = [(f"k{n}", value(f"k{n}").seal(1)) for n in range(200)]
    with pytest.raises(Ambiguous) as caught:
        tier.put_many(SCOPE, [*items, ("bad", value("bad").seal(1))])
    assert caught.value.reason is Reason.MISUSE and tier.get(SCOPE, "k0")


def test_a_batch_keeps_the_newest_of_one_key(tier: RedisTier) -> None:
    frames = [("k", value("k").seal(version)) for version in (5, 4, 7, 6)]
    assert tier.put_many(SCOPE, frames) == [True, False, True, False]
    assert version_of(tier.get(SCOPE, "k") or b"") == 7


def test_a_commit_tells_the_generation_it_was_made_in(tier: RedisTier, server: RedisServer) -> None:
    """PROTOCOL R8: a clear after the commit must not lend its generation to the frame."""
    other = RedisTier(server.url, timeout=SLOW, connect_timeout=SLOW)
    run = tier._link.script

    def then_clear(script: Any, *args: Any, **options: Any) -> Any:
        result = run(script, *args, **options)
        if "writes of one commit" in script.text:
            other.clear("n")
        return result

    tier._link.script = then_clear  # type: ignore[method-assign]
    done = tier.commit("n", [Write("k", value("k"))], now=now())
    assert done.generation == 1 and other.generation("n") > 1
    other.close()


def test_a_commit_whose_version_is_old_takes_a_new_one(tier: RedisTier, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was stopped after it reserved one: a tombstone above it may have come and expired meanwhile."""
    reserve, given = tier._reserve, list[int]()

    def late(namespace: str, count: int) -> int:
        version = reserve(namespace, count)
        given.append(version if given else version - 40_000_000)
        return given[-1]

    monkeypatch.setattr(tier, "_reserve", late)
    done = tier.commit("n", [Write("k", value("k"))], now=now())
    assert len(given) == 2 and done.written[0].version == given[1]


def test_a_note_lives_longer_than_what_is_put_soon_after_it(tier: RedisTier, raw: Any) -> None:
    assert tier.noted("store-1:0") is None
    for place in ("a", "b"):
        tier.note("store-1:0", place)
        assert (tier.noted("store-1:0"), tier.noted("store-1:1")) == (place, None)
    put(tier, SCOPE, "k", value("k").seal(1))
    (entry,) = raw.keys("tiered:n:1:*")
    assert raw.pttl("tiered:store-1:0:place") >= max(raw.pttl(entry) + 30_000, 29 * 86_400_000)  # others put for longer
    raw.set("tiered:store-1:0:place", b"\xff")
    assert tier.noted("store-1:0") == "\ufffd"
    raw.delete("tiered:store-1:0:place")
    raw.lpush("tiered:store-1:0:place", "of another program")
    with pytest.raises(StoreUnavailable) as caught:
        tier.noted("store-1:0")
    assert caught.value.reason is Reason.MISUSE
    tier.note("store-1:0", "c")
    assert tier.noted("store-1:0") == "c"


@pytest.mark.parametrize("key", ["tiered:n:generation", "tiered:epoch"])
def test_a_generation_of_another_program_is_misuse(tier: RedisTier, raw: Any, key: str) -> None:
    raw.set(key, "theirs")
    with pytest.raises(StoreUnavailable) as caught:
        tier.read("n", "k")
    assert caught.value.reason is Reason.MISUSE
    with pytest.raises(NotApplied):
        tier.commit("n", [Write("k", value("k"))], now=now())


@pytest.mark.parametrize(
    ("query", "told"), [("client_nme=x", "client_name"), ("ssl_cafile=x", "unknown"), ("ssl_ca_certs=x", "rediss")]
)
def test_an_unknown_option_is_refused_at_once(query: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        RedisTier(f"redis://:s3cret@host/0?{query}")


def test_a_client_tells_the_address_and_is_left_open(server: RedisServer, raw: Any) -> None:
    tier = RedisTier(client=raw, timeout=SLOW, connect_timeout=SLOW)
    assert put(tier, SCOPE, "k", value("k").seal(1)) and tier.get(SCOPE, "k")
    tier.close()
    assert raw.ping()
    with pytest.raises(ConfigError):
        RedisTier(server.url, client=raw)


def test_a_put_of_what_was_committed_long_ago_is_refused_by_the_server(redis_url: str) -> None:
    """PROTOCOL R6: by now the slot may have held, and lost, something newer."""
    tier = RedisTier(redis_url)
    try:
        frame = draft(namespace_seed("n"), "k", b"v", 1).seal(7)
        tier.probe()
        assert tier.put_many("n:1", [("k", frame)], since=time.monotonic()) == [True]
        with pytest.raises(NotApplied, match="after its time"):
            tier.put_many("n:1", [("late", frame)], since=time.monotonic() - 60)
        assert tier.get_many("n:1", ["k", "late"]) == [frame, None]
    finally:
        tier.close()


def test_a_put_tells_its_version_whether_or_not_it_stored_anything(redis_url: str) -> None:
    """PROTOCOL R14: somebody's promotion may have come first, and told nobody."""
    tier = RedisTier(redis_url)
    subscription = tier.subscribe()
    try:
        told, deadline = list[Any](), time.monotonic() + 30

        def hear(count: int) -> None:
            while len(told) < count:
                assert time.monotonic() < deadline
                told.extend(subscription.receive())
                time.sleep(0.001)

        subscription.add("n")
        hear(1)
        frame = draft(namespace_seed("n"), "k", b"v", 1).seal(7)
        assert tier.put_many("n:1", [("k", frame)]) == [True]  # a promotion
        assert tier.put_many("n:1", [("k", frame)], tell=True) == [False]
        hear(2)
        assert [(it.kind, it.namespace, list(it.versions)) for it in told[1:]] == [("told", "n", [("k", 7)])]
    finally:
        subscription.close()
        tier.close()


def test_a_server_that_was_started_again_while_nobody_asked_costs_no_call(server: RedisServer, tier: RedisTier) -> None:
    """What waited in the pool is dead; nothing of the call was sent on it."""
    for again in range(2):
        commit = tier.commit("n", (Write("k", value("k", b"%d" % again)),), now=now())
        assert commit.written[0].version
        server.restart()
        time.sleep(BELIEF)
        assert tier.read("n", "k")[1] is None
        server.restart()
        time.sleep(BELIEF)


def test_a_server_that_does_not_come_back_is_asked_once_more_and_no_more(server: RedisServer, tier: RedisTier) -> None:
    assert tier.get(SCOPE, "k") is None
    server.kill()
    time.sleep(BELIEF)
    with pytest.raises(StoreUnavailable) as caught:
        tier.get(SCOPE, "k")
    assert caught.value.reason is Reason.CONNECTION
    server.start()
    assert tier.get(SCOPE, "k") is None


def test_a_connection_in_place_of_a_dead_one_has_to_say_where_it_leads(
    server: RedisServer, tier: RedisTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(tier._link, Link)
    pool = tier._link.pool
    dead, old = pool.lend(False), pool.lend(False)
    pool.give_back(old)
    pool.give_back(dead)
    for wire in (dead, old):
        wire.believed_until = 0.0
    dead.sock.shutdown(socket.SHUT_RDWR)
    # Another thread gives it back when all that are idle were just closed.
    monkeypatch.setattr(pool, "forget_idle", lambda: None)
    wire = pool.lend(False)
    assert wire is old and wire.believed_until > time.monotonic()
    monkeypatch.undo()
    pool.give_back(wire)
    assert tier.get(SCOPE, "k") is None


def test_a_commit_of_many_writes_has_as_much_time_as_batches_of_them_would(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tier, other = (RedisTier(server.url, timeout=1.0, connect_timeout=SLOW) for _ in range(2))
    other.generation("n")
    tier.commit("n", [Write("k", value("k"))], now=now())  # the server knows the scripts
    frozen, real = threading.Event(), tier._link.call

    def frozen_first(*args: Any, **options: Any) -> Any:
        if len(args) > 20_000:
            for wire in tier._link.pool.idle:
                wire.believed_until = inf
            server.freeze()
            frozen.set()
        return real(*args, **options)

    monkeypatch.setattr(tier._link, "call", frozen_first)
    writes = [Write(f"k{n}", value(f"k{n}")) for n in range(20_000)]
    committed = started(lambda: tier.commit("n", writes, now=now()))
    assert frozen.wait(LIMIT)
    for _ in range(2):  # two time limits
        with pytest.raises(StoreUnavailable):
            other.generation("n")
    server.thaw()
    assert len(committed.result(LIMIT).written) == len(writes)
    tier.close()
    other.close()


def test_a_read_that_clears_overtake_every_time_is_one_that_could_not_be_answered(
    tier: RedisTier, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tier._link.call

    def cleared_before(*args: Any, **options: Any) -> Any:
        if args[0] == "MGET":
            raw.incrby(tier._generation("n"), 5)
        return real(*args, **options)

    monkeypatch.setattr(tier._link, "call", cleared_before)
    with pytest.raises(StoreUnavailable, match="cleared") as failed:
        tier.read("n", "k")
    assert failed.value.reason is Reason.BUSY
    with TieredBackend([tier], namespace="n") as store, pytest.raises(NotApplied, match="cleared"):
        store.increment("k")
