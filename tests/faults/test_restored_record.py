"""A store of record that comes back with an old state: what it forgot, its caches must not know.

A Redis with `journal=` that restarts from a snapshot, and a directory of files that somebody puts back.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from tests.servers import RedisServer
from tests.waiting import eventually
from tiered import FileTier, MemoryTier, RedisTier, StoreError, TieredBackend

pytestmark = pytest.mark.faults

Open = Callable[[], TieredBackend]
OLD = {"k": "v1", "gone": "v1"}


@pytest.fixture
def record_server() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.stop()


@pytest.fixture
def opened(redis_server: RedisServer, record_server: RedisServer, tmp_path: Path) -> Iterator[Open]:
    """Opens stores over both servers, as processes of one host do."""
    with ExitStack() as stack:

        def opened() -> TieredBackend:
            record = RedisTier(record_server.url, name="record")
            tiers = [MemoryTier(), RedisTier(redis_server.url), record]
            return stack.enter_context(TieredBackend(tiers, journal=tmp_path / "journal"))

        yield opened


def restore(server: RedisServer, store: TieredBackend, *, clear: bool = True) -> None:
    """Leave `server` with what it had before two writes, and a clear."""
    store.set_many(OLD)
    with redis.Redis.from_url(server.url) as client:
        client.save()
    if clear:
        store.clear()
    store.set_many({"k": "v2", "new": "v2"})
    server.restart()


def read(store: TieredBackend) -> dict[str, str] | None:
    """What is there, None while the record cannot be asked."""
    try:
        return store.get_many(["k", "gone", "new"])
    except StoreError:
        return None


def test_convergence_after_the_record_was_restored(opened: Open, record_server: RedisServer) -> None:
    live = opened()
    restore(record_server, live)
    eventually(lambda: read(live) == OLD)
    eventually(lambda: live.verify().converged)
    assert read(opened()) == OLD


def test_a_process_that_starts_believes_no_cache_of_a_record_that_was_restored(
    opened: Open, record_server: RedisServer
) -> None:
    with opened() as dead:
        restore(record_server, dead, clear=False)
    assert read(opened()) == OLD


def test_no_stale_return_after_a_clear_that_the_record_forgot_is_repeated(
    opened: Open, record_server: RedisServer
) -> None:
    """The generation of the second must not be that of the first, in which the cache still has entries."""
    live = opened()
    restore(record_server, live)
    eventually(lambda: read(live) == OLD)
    live.clear()
    assert read(live) == {} and read(opened()) == {}


# A directory


def of_files(server: RedisServer, tmp_path: Path) -> TieredBackend:
    return TieredBackend([MemoryTier(), RedisTier(server.url), FileTier(tmp_path / "store")])


def put_back(tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "store")
    shutil.copytree(tmp_path / "copy", tmp_path / "store")


@pytest.mark.parametrize("killed", [False, True])
def test_no_stale_return_after_a_directory_was_put_back(
    redis_server: RedisServer, tmp_path: Path, killed: bool
) -> None:
    with of_files(redis_server, tmp_path) as store:
        store.set_many(OLD)
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    with ExitStack() as stack, redis.Redis.from_url(redis_server.url) as client:
        before = stack.enter_context(of_files(redis_server, tmp_path))
        before.clear()  # a generation that the copy will come to, too
        for n in range(20):
            before.set_many({"k": f"v{n + 2}", "new": f"v{n + 2}"})
        last = before.lookup("new").version
        if killed:
            (name,) = client.keys("tiered:*:place")
            eventually(lambda: int((client.get(name) or b"0").rpartition(b"-")[2]) >= last)
        else:
            before.close()
        put_back(tmp_path)
        a, b = (stack.enter_context(of_files(redis_server, tmp_path)) for _ in "ab")
        assert read(a) == read(b) == OLD
        a.set("k", "v-after")
        eventually(lambda: b.get("k") == "v-after")
        for store in (a, b):
            store._core.chain.memory.forget_all()
        assert read(a) == read(b) == {**OLD, "k": "v-after"}
        assert a.verify().converged
        assert a.lookup("k").version > last


def test_no_stale_return_with_a_copy_of_the_directory_beside_it(redis_server: RedisServer, tmp_path: Path) -> None:
    """As with two machines that were cloned from one, above one Redis."""
    with of_files(redis_server, tmp_path) as store:
        store.set_many(OLD)
    shutil.copytree(tmp_path / "store", tmp_path / "clone" / "store")
    with of_files(redis_server, tmp_path) as a, of_files(redis_server, tmp_path / "clone") as c:
        assert read(a) == read(c) == OLD
        c.set_many({"k": "of the clone", "new": "of the clone"})
        a.set_many({"k": "v2", "gone": "v2"})
        a.delete("gone")
        mine, its = {"k": "v2"}, {**OLD, "k": "of the clone", "new": "of the clone"}
        eventually(lambda: a.stats()["tiers"]["redis"]["bumps"] and c.stats()["tiers"]["redis"]["bumps"])
        eventually(lambda: read(a) == mine and read(c) == its)
        with of_files(redis_server, tmp_path) as another:  # whose memory is empty
            assert read(another) == mine
        eventually(lambda: a.verify().converged and c.verify().converged)


def test_convergence_with_a_redis_that_was_away_when_the_directory_was_put_back(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    with of_files(redis_server, tmp_path) as store:
        store.set_many(OLD)
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    with of_files(redis_server, tmp_path) as store:
        for n in range(20):
            store.set_many({"k": f"v{n + 2}", "new": f"v{n + 2}"})
    put_back(tmp_path)
    redis_server.freeze()
    with of_files(redis_server, tmp_path) as store:
        store.set("k", "v-after")
        assert read(store) == {**OLD, "k": "v-after"}
        redis_server.thaw()
        eventually(lambda: store.health()["redis"]["breaker"] == "closed")
        store._core.chain.memory.forget_all()
        assert read(store) == {**OLD, "k": "v-after"}
        eventually(lambda: store.verify().converged)
