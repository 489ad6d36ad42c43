"""A store of record (Redis with `journal=`) that comes back with an old snapshot: what it forgot, its caches must not know."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from tests.servers import RedisServer
from tests.waiting import eventually
from tiered import MemoryTier, RedisTier, StoreError, TieredBackend

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
