"""What tasks read from Redis on no thread: each its own reply, faults as everywhere else, and a thread whenever it must."""

from __future__ import annotations

import asyncio
import os
import socket
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import trustme

from tests.loops import FACTORIES, Loop, until
from tests.redis_topologies import TlsServer, authority_file
from tests.servers import RedisServer
from tiered import AsyncTieredBackend, FileTier, RedisTier, StoreUnavailable, TieredBackend
from tiered.entry import MAX_VERSION
from tiered.errors import Reason
from tiered.tiers.redis_conversation import Conversation

KEYS = [f"k{n}" for n in range(64)]


@pytest.fixture(params=sorted(FACTORIES))
def run(request: pytest.FixtureRequest) -> Loop:
    return Loop(request.param)


@pytest.fixture
def tier(redis_server: RedisServer) -> RedisTier:
    return RedisTier(redis_server.url, timeout=5.0, connect_timeout=5.0)


@pytest.fixture
def plain(tier: RedisTier, tmp_path: Path) -> Iterator[TieredBackend]:
    with TieredBackend([tier, FileTier(tmp_path / "data")]) as store:
        store.set_many({key: key.upper() for key in KEYS})
        yield store


@pytest.fixture
def store(plain: TieredBackend) -> AsyncTieredBackend:
    return AsyncTieredBackend.over(plain)


def link(tier: RedisTier) -> Any:
    return tier._link


def conversation(tier: RedisTier) -> Conversation | None:
    found = [seat.conversation for seat in link(tier).awaited._seats.values()]
    return found[0] if found else None


async def talk(store: AsyncTieredBackend, tier: RedisTier) -> Conversation:
    """Read until the loop has a conversation."""
    while True:
        assert await store.get("k0") == "K0"
        if (it := conversation(tier)) is not None:
            return it


def on_no_thread(store: AsyncTieredBackend) -> None:
    """From here on a read that goes by a thread is an error."""
    store._pool._reads.submit = None  # type: ignore[method-assign,assignment]  # called by nobody


def test_64_tasks_are_two_requests_and_no_thread(run: Loop, store: AsyncTieredBackend, tier: RedisTier) -> None:
    async def work() -> None:
        it = await talk(store, tier)
        on_no_thread(store)
        posted, post = list[bytes](), it.wire.post
        it.wire = Spy(it.wire, lambda packed: posted.append(packed) or post(packed))  # type: ignore[assignment]
        assert await asyncio.gather(*map(store.get, KEYS)) == [key.upper() for key in KEYS]
        assert [packed.count(b"GET") for packed in posted] == [32, 32]

    run(work())


class Spy:
    """A wire whose `post` is another."""

    def __init__(self, inner: Any, post: Any) -> None:
        self._inner, self.post = inner, post

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def test_a_miss_is_asked_once_and_promoted(
    run: Loop, store: AsyncTieredBackend, tier: RedisTier, redis_server: RedisServer
) -> None:
    async def work() -> None:
        await talk(store, tier)
        stats = store._store._core.chain.guards[0].stats
        misses, promoted, hits = stats.misses, stats.promoted, stats.hits
        remove(redis_server, "k7")
        tier.get = tier.get_many = None  # type: ignore[method-assign,assignment]  # called by nobody
        assert await store.get("k7") == "K7"
        assert (stats.misses, stats.promoted, stats.hits) == (misses + 1, promoted + 1, hits)
        on_no_thread(store)
        assert await store.get("k7") == "K7" and stats.hits == hits + 1

    run(work())


def test_tasks_that_miss_a_key_together_are_counted_each(
    run: Loop, store: AsyncTieredBackend, tier: RedisTier, redis_server: RedisServer
) -> None:
    async def work() -> None:
        await talk(store, tier)
        stats = store._store._core.chain.guards[0].stats
        misses = stats.misses
        remove(redis_server, "k7")
        assert await asyncio.gather(*[store.get("k7") for _ in range(5)]) == ["K7"] * 5
        assert stats.misses == misses + 5

    run(work())


def remove(server: RedisServer, key: str) -> bytes:
    """Take `key` out of Redis; what its name was there."""
    with redis.Redis.from_url(server.url) as raw:
        (name,) = (name for name in raw.scan_iter() if name.endswith(f":{key}".encode()))
        raw.delete(name)
        return bytes(name)


def test_an_error_is_its_own_commands_only(
    run: Loop, store: AsyncTieredBackend, tier: RedisTier, redis_server: RedisServer
) -> None:
    async def work() -> None:
        it = await talk(store, tier)
        with redis.Redis.from_url(redis_server.url) as raw:
            raw.rpush(remove(redis_server, "k7"), "no frame")
        assert await asyncio.gather(*map(store.get, KEYS)) == [key.upper() for key in KEYS]
        assert conversation(tier) is it and not it.over

    run(work())
    errors = store._store._core.chain.guards[0].stats.errors
    assert errors["get", Reason.MISUSE] == 1 and sum(errors.values()) == 1


def test_what_a_write_overtakes_while_a_task_asks_is_not_given_to_it(
    run: Loop, plain: TieredBackend, store: AsyncTieredBackend, tier: RedisTier
) -> None:
    async def work() -> None:
        it = await talk(store, tier)
        task = asyncio.ensure_future(store.get("k1"))
        while not it._waiting:
            await asyncio.sleep(0)
        plain.set("k1", "new")  # in the way of the loop, which has not seen the reply
        assert await task == "new"

    run(work())


def test_who_is_cancelled_takes_nobodys_reply(run: Loop, store: AsyncTieredBackend, tier: RedisTier) -> None:
    async def work() -> None:
        await talk(store, tier)
        on_no_thread(store)
        tasks = [asyncio.ensure_future(store.get(key)) for key in KEYS]
        await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for n, (key, result) in enumerate(zip(KEYS, results, strict=True)):
            assert isinstance(result, asyncio.CancelledError) if n % 3 == 0 else result == key.upper()
        assert await store.get("k1") == "K1"

    run(work())


@pytest.mark.faults
@pytest.mark.parametrize("fault", ["freeze", "kill"])
def test_a_server_that_fails_is_asked_once_by_each_and_the_record_answers(
    run: Loop, redis_server: RedisServer, tmp_path: Path, fault: str
) -> None:
    tier = RedisTier(redis_server.url)

    async def work() -> None:
        async with AsyncTieredBackend([tier, FileTier(tmp_path)]) as store:
            await store.set_many({key: key.upper() for key in KEYS})
            it = await talk(store, tier)
            guard = store._store._core.chain.guards[0]
            unanswered = guard.stats.unanswered
            getattr(redis_server, fault)()
            assert await asyncio.gather(*map(store.get, KEYS)) == [key.upper() for key in KEYS]
            assert it.over and conversation(tier) is None
            assert guard.stats.unanswered - unanswered == 64
            if fault == "freeze":  # one that was killed may be noticed by the first, and the others asked together
                assert not guard.breaker.closed
                assert all(guard.owed.least(("default", key)) for key in KEYS)  # older copies may be read there later
                assert await store.get("k1") == "K1" and guard.stats.unanswered - unanswered == 64
            redis_server.thaw() if fault == "freeze" else redis_server.start()
            await until(lambda: guard.breaker.closed, "the breaker closes")
            await talk(store, tier)

    run(work())


def test_a_connection_that_is_cut_takes_no_tier_out_of_service(
    run: Loop, store: AsyncTieredBackend, tier: RedisTier, redis_server: RedisServer
) -> None:
    async def work() -> None:
        it = await talk(store, tier)
        guard = store._store._core.chain.guards[0]
        hits, unanswered = guard.stats.hits, guard.stats.unanswered
        redis_server.freeze()
        tasks = [asyncio.ensure_future(store.get(key)) for key in KEYS]
        while len(it._waiting) < 64:
            await asyncio.sleep(0)
        it.wire.sock.shutdown(socket.SHUT_RDWR)
        redis_server.thaw()
        assert await asyncio.gather(*tasks) == [key.upper() for key in KEYS]
        assert it.over and guard.breaker.closed and not guard.owed
        assert (guard.stats.hits, guard.stats.unanswered) == (hits + 64, unanswered)
        assert guard.stats.errors["get", Reason.CONNECTION] == 64

    run(work())


def test_what_a_tier_owes_it_is_not_asked_for(run: Loop, store: AsyncTieredBackend, tier: RedisTier) -> None:
    async def work() -> None:
        await talk(store, tier)
        assert (await store.lookup("k1")).tier == "redis"
        store._store._core.chain.guards[0].owe("default", "k1", MAX_VERSION)
        assert (await store.lookup("k1")).tier == "file" and (await store.lookup("k2")).tier == "redis"

    run(work())


def test_what_a_later_tier_gives_a_task_passes_the_slower_ones_by(
    run: Loop, redis_server: RedisServer, tmp_path: Path
) -> None:
    """R18: it may be newer than what the tier has that was not asked, once that is asked again."""
    slower = RedisTier(redis_server.url, name="slower", prefix="slower", timeout=5.0, connect_timeout=5.0)
    tier = RedisTier(redis_server.url, timeout=5.0, connect_timeout=5.0)

    async def work() -> None:
        async with AsyncTieredBackend([slower, tier, FileTier(tmp_path)], read_order="measured") as store:
            await store.set("k0", "K0")
            order = store._store._core.chain.order
            order.measure = lambda: None  # type: ignore[method-assign]  # it stays as it is here
            order.asked, order.passed = order.asked[1:], order.asked[:1]
            await talk(store, tier)
            on_no_thread(store)
            now = order.passed[0].passed_at = time.monotonic()
            assert (await store.lookup("k0")).tier == "redis" and order.passed[0].passed_at > now

    run(work())


def test_the_order_of_reads_may_change_at_any_moment(plain: TieredBackend) -> None:
    fetcher, (guard,) = plain._core.service.reader._fetcher, plain._core.chain.guards
    fetcher._chain = Changing(fetcher._chain)  # type: ignore[assignment]  # a double
    asked, until = fetcher.first(time.monotonic())
    assert asked == [guard] and until


class Changing:
    """A chain in which every look at the order makes the record the faster one."""

    def __init__(self, chain: Any) -> None:
        self.order, self.trust, self.measured = self, chain.trust, False
        self._answers = [chain.order.asked]

    @property
    def asked(self) -> list[Any]:
        return self._answers.pop() if self._answers else []


def test_what_another_run_says_is_not_believed(run: Loop, store: AsyncTieredBackend, tier: RedisTier) -> None:
    async def work() -> None:
        it = await talk(store, tier)
        guard = store._store._core.chain.guards[0]
        task = asyncio.ensure_future(store.get("k1"))
        await asyncio.sleep(0)
        guard.belief += 1  # while it is under way
        skipped = guard.owed.least(("default", "k1"))
        assert await task == "K1" and guard.owed.least(("default", "k1")) > skipped  # the record's; not a hit
        link(tier).pool.run_id = "another"
        assert await store.get("k2") == "K2"
        assert it.over

    run(work())


def test_a_connection_is_greeted_again_when_its_time_is_over(
    run: Loop, store: AsyncTieredBackend, tier: RedisTier
) -> None:
    async def work() -> None:
        it = await talk(store, tier)
        it.wire.believed_until = 0.0
        assert await store.get("k1") == "K1" and it.over
        again = await talk(store, tier)
        assert again.wire is it.wire and again.wire.believed_until > time.monotonic()

    run(work())


def test_a_reply_that_nobody_asked_for_ends_it(run: Loop, store: AsyncTieredBackend, tier: RedisTier) -> None:
    async def work() -> None:
        it = await talk(store, tier)
        it.wire.post(b"PING\r\n")
        await until(lambda: it.over, "the conversation ends")
        assert await store.get("k1") == "K1"
        assert (await talk(store, tier)).wire is not it.wire

    run(work())


def test_a_reply_that_is_too_large_ends_it(run: Loop, redis_server: RedisServer, tmp_path: Path) -> None:
    tier = RedisTier(redis_server.url, timeout=5.0, max_reply_bytes=100_000)

    async def work() -> None:
        async with AsyncTieredBackend([tier, FileTier(tmp_path)]) as store:
            await store.set("k0", "K0")
            await store.set("large", "x" * 1_000_000)
            it = await talk(store, tier)
            assert await store.get("large") == "x" * 1_000_000 and it.over
            errors = store._store._core.chain.guards[0].stats.errors
            assert errors["get", Reason.TOO_LARGE] == 1

    run(work())


def test_a_loop_that_asks_seldom_has_no_connection(run: Loop, store: AsyncTieredBackend, tier: RedisTier) -> None:
    async def work() -> None:
        for _ in range(3):
            assert await store.get("k0") == "K0"
            (seat,) = link(tier).awaited._seats.values()
            assert seat.conversation is None and not seat.preparing
            seat.asked_at -= 10

    run(work())


def test_loops_that_were_closed_leave_no_connection(
    run: Loop, store: AsyncTieredBackend, tier: RedisTier, redis_server: RedisServer
) -> None:
    for _ in range(20):
        run(talk(store, tier))
    assert len(link(tier).awaited._seats) == 1
    with redis.Redis.from_url(redis_server.url) as raw:
        assert len(raw.client_list()) < 10


def test_closing_ends_it_and_who_waits_is_told(run: Loop, store: AsyncTieredBackend, tier: RedisTier) -> None:
    async def work() -> None:
        it = await talk(store, tier)
        await store.close()
        await until(lambda: it.over, "the conversation ends")
        assert it.wire.sock.fileno() == -1

    run(work())


def test_a_child_of_a_fork_has_conversations_of_its_own(store: AsyncTieredBackend, tier: RedisTier) -> None:
    async def work() -> None:
        mine = (await talk(store, tier)).wire
        child = os.fork()
        if child == 0:
            os._exit(not in_child(mine))
        assert os.waitpid(child, 0)[1] == 0
        await talk(store, tier)

    def in_child(parents: Any) -> bool:
        asyncio.events._set_running_loop(None)
        try:
            return Loop()(talk(store, tier)).wire is not parents
        except BaseException:
            traceback.print_exc()
            return False

    Loop()(work())


def test_over_tls_threads_ask(run: Loop, tmp_path: Path) -> None:
    authority = trustme.CA()
    server = TlsServer(authority, authority.issue_cert("127.0.0.1"))
    ca = authority_file(authority, tmp_path)
    tier = RedisTier(f"{server.url}?ssl_ca_certs={ca}", timeout=5.0, connect_timeout=5.0)

    async def work() -> None:
        async with AsyncTieredBackend([tier, FileTier(tmp_path / "data")]) as store:
            await store.set("k0", "K0")
            for _ in range(20):
                assert (await store.lookup("k0")).tier == "redis"
            assert conversation(tier) is None

    run(work())
    server.stop()


def test_tracing_keeps_tasks_on_threads(tmp_path: Path, redis_server: RedisServer) -> None:
    tier = RedisTier(redis_server.url)

    async def work() -> None:
        async with AsyncTieredBackend([tier, FileTier(tmp_path)], trace=True) as store:
            await store.set("k0", "K0")
            for _ in range(20):
                assert await store.get("k0") == "K0"
            assert not link(tier).awaited._seats

    Loop()(work())


def test_a_store_of_record_that_is_away_is_no_error_for_what_redis_has(
    run: Loop, store: AsyncTieredBackend, tier: RedisTier
) -> None:
    async def work() -> None:
        await talk(store, tier)

        def down(*_: object) -> Any:
            raise StoreUnavailable("down", tier="file", reason=Reason.CONNECTION)

        store._store._core.chain.record.read = down  # type: ignore[method-assign]  # a double
        on_no_thread(store)
        assert await store.get("k1") == "K1"

    run(work())
