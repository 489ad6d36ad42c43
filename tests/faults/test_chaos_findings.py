"""What the chaos kit found, each case alone and in a fixed order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.servers import RedisServer
from tiered import FileTier, MemoryTier, RedisTier, TieredBackend
from tiered.testing.chaos import Faults, FaultyRecord, FaultyTier, Proxy
from tiered.tiers.base import Record

UNREACHABLE = Faults(before=1)


class Pausing(FaultyRecord):
    """A store of record whose next read runs `before` first, or `after` when it has its answer."""

    def __init__(self, inner: Record) -> None:
        super().__init__(inner)
        self.before: Callable[[], object] | None = None
        self.after: Callable[[], object] | None = None

    def read(self, namespace: str, key: str) -> tuple[int, bytes | None]:
        hook, self.before = self.before, None
        if hook is not None:
            hook()
        found = super().read(namespace, key)
        hook, self.after = self.after, None
        if hook is not None:
            hook()
        return found


@pytest.fixture
def closing() -> Iterator[list[TieredBackend]]:
    """Stores that the test opens; closed after it."""
    stores: list[TieredBackend] = []
    yield stores
    for store in stores:
        store.close()


def test_an_absence_is_not_followed_by_the_older_value_from_memory(
    tmp_path: Path, closing: list[TieredBackend]
) -> None:
    record = Pausing(FileTier(tmp_path))
    a, b = TieredBackend([FileTier(tmp_path)]), TieredBackend([MemoryTier(), record])
    closing += [a, b]
    record.before = lambda: (b.set("k", "v1"), a.delete("k"))
    assert b.get("k") is None
    assert b.get("k") is None  # not v1, of which it has just said that it is gone


def test_no_read_joins_one_that_is_older_than_what_a_batch_returned(
    tmp_path: Path, closing: list[TieredBackend]
) -> None:
    record = Pausing(FileTier(tmp_path))
    a, b = TieredBackend([FileTier(tmp_path)]), TieredBackend([MemoryTier(max_entries=0), record], deadline=30)
    closing += [a, b]
    a.set("k", "v1")
    joined: list[str] = []
    follower = threading.Thread(target=lambda: joined.append(b.get("k")))

    def a_batch_returns_what_is_newer() -> None:
        a.set("k", "v2")
        assert b.get_many(["k"]) == {"k": "v2"}
        follower.start()
        deadline = time.monotonic() + 30
        while not (b.stats()["namespace"]["coalesced"] or joined):  # it has joined, or rightly read for itself
            assert time.monotonic() < deadline
            time.sleep(0.001)

    record.after = a_batch_returns_what_is_newer  # the leader holds v1 and has not returned it yet
    b.get("k")
    follower.join()
    assert joined == ["v2"]


def test_an_absence_is_not_followed_by_the_older_value_from_a_cache(
    tmp_path: Path, closing: list[TieredBackend]
) -> None:
    shared = MemoryTier(name="cache")
    cut_off, flaky = FaultyTier(shared), FaultyTier(shared)
    a = TieredBackend([cut_off, FileTier(tmp_path)])
    b = TieredBackend([MemoryTier(max_entries=0), flaky, FileTier(tmp_path)])
    closing += [a, b]
    a.set("k", "v1")
    a._core.chain.record.journal.flush()  # what is pending when a process starts is owed there
    assert b.lookup("k").tier == "cache"
    a._core.service.keeper.stop()
    b._core.service.keeper.stop()  # it looks when the test says so
    cut_off.faults = UNREACHABLE
    a.delete("k")
    flaky.faults = UNREACHABLE
    assert b.get("k") is None  # from the record: the cache owes it
    flaky.faults = Faults()
    b._core.service.keeper.look()
    assert b.get("k") is None


@pytest.mark.faults
def test_a_process_that_starts_reads_nothing_that_is_pending(
    tmp_path: Path, redis_server: RedisServer, closing: list[TieredBackend]
) -> None:
    with Proxy("127.0.0.1", redis_server.port) as proxy:
        a = TieredBackend([RedisTier(f"redis://127.0.0.1:{proxy.port}/0"), FileTier(tmp_path)])
        closing.append(a)
        a.set("k", "v1")
        proxy.refuse()
        assert a.set("k", "v2").tiers["redis"] == "queued"
        a.close()
    time.sleep(2)  # more than the staleness bound
    closing.append(b := TieredBackend([RedisTier(redis_server.url), FileTier(tmp_path)]))
    assert b.get("k") == "v2"


@pytest.mark.faults
def test_a_process_that_starts_does_not_believe_a_redis_with_old_data(
    tmp_path: Path, redis_server: RedisServer, closing: list[TieredBackend]
) -> None:
    a = TieredBackend([RedisTier(redis_server.url), FileTier(tmp_path)])
    closing.append(a)
    a.set("k", "v1")
    with redis.Redis.from_url(redis_server.url) as client:
        client.save()
    a.set("k", "v2")
    time.sleep(2)  # more than the staleness bound
    redis_server.restart()  # with the data of the save; a, which was there before, has not noticed yet
    closing.append(b := TieredBackend([RedisTier(redis_server.url), FileTier(tmp_path)]))
    assert b.get("k") == "v2"
