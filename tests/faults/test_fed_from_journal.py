"""`feed="journal"` and `read_order="measured"`, with a real Redis: nothing is lost, nothing old is read, all tiers agree again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from typing import Any, cast

import pytest

from tests.faults.agents import Agent
from tests.loops import Gate
from tests.servers import RedisServer
from tests.unit.conftest import Start, server, start
from tests.waiting import LIMIT, eventually, started
from tiered import FileTier, MemoryTier, RedisTier, TieredBackend
from tiered.replication import feeder as feeder_module

__all__ = ["server", "start"]  # fixtures
pytestmark = pytest.mark.faults

FED = {"feed": "journal", "read_order": "measured"}
Open = Callable[[], TieredBackend]


@pytest.fixture
def open_store(redis_server: RedisServer, tmp_path: Path) -> Iterator[Open]:
    with ExitStack() as stack:

        def build() -> TieredBackend:
            tiers = [MemoryTier(), RedisTier(redis_server.url), FileTier(tmp_path / "data")]
            return stack.enter_context(TieredBackend(tiers, feed="journal", read_order="measured"))

        yield build


def url(server: RedisServer, tmp_path: Path) -> str:
    return f"memory://?max_entries=10,redis://127.0.0.1:{server.port}/0,file://{tmp_path / 'data'}"


def test_redis_gets_what_was_set_after_set_has_returned(open_store: Open) -> None:
    store = open_store()
    assert store.set("k", "v").tiers == {"memory": "ok", "redis": "queued", "file": "ok"}
    assert store.get("k") == "v"
    guard = store._core.chain.guards[0]
    eventually(lambda: not guard.owed and guard.tier.get(store._core.space.scope, "k"), "feeding Redis")
    assert store.verify().ok


def test_what_was_queued_when_a_process_is_killed_is_fed_by_another(
    open_store: Open, redis_server: RedisServer, tmp_path: Path
) -> None:
    store = open_store()
    with Agent(url(redis_server, tmp_path), **FED) as agent:
        agent.set("k", "v1")
        assert store.get("k") == "v1"
        redis_server.freeze()  # so that nothing can be fed
        for n in range(50):
            assert agent.set(f"k{n}", n)["redis"] == "queued"
        assert agent.set("k", "v2")["redis"] == "queued"
        agent.kill()
    redis_server.thaw()
    with Agent(url(redis_server, tmp_path)) as fresh:
        assert fresh.get("k") == "v2" and [fresh.get(f"k{n}") for n in range(50)] == list(range(50))
    eventually(lambda: store.get("k") == "v2", "v2 elsewhere")
    eventually(lambda: store.verify().ok, "all tiers equal")


def test_closing_feeds_what_is_left(open_store: Open, redis_server: RedisServer) -> None:
    store = open_store()
    store.set_many({f"k{n}": n for n in range(1000)})
    store.close()
    other = open_store()
    assert not other._core.chain.record.journal.pending("redis", limit=1)
    assert other.verify().ok


def test_what_was_committed_while_it_fed_is_fed_when_it_is_stopped(start: Start) -> None:
    a = start(feed="journal")
    feeder, cache = a.store._core.service.feeder, cast(Any, a.cache)
    assert feeder is not None
    put = cache.put_many = Gate(cache.put_many)
    a.store.set("k0", 0)
    eventually(lambda: put.reached)
    a.store.set("k1", 1)
    stopping = started(feeder.stop)
    eventually(feeder._ending.is_set)
    put.open()
    stopping.result(LIMIT)
    assert not a.owes("k0") and not a.owes("k1")


def test_one_that_is_stopped_as_it_begins_to_feed_ends(start: Start) -> None:
    a = start(feed="journal")
    feeder = a.store._core.service.feeder
    assert feeder is not None

    class Due(Event):
        def clear(self) -> None:
            feeder._ending.set()  # by `stop`, which then sets this one, just before it is cleared
            super().clear()

    feeder._due = Due()
    a.store.set("k", 1)
    thread = feeder._thread
    assert thread is not None
    thread.join(LIMIT)
    assert not thread.is_alive() and not a.owes("k")


def test_what_is_written_within_a_pause_is_fed_together(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeder_module, "PAUSE", 0.5)
    a = start(feed="journal")
    batches: list[int] = []
    put = a.cache.put_many

    def counted(scope: str, items: Any, **options: Any) -> list[bool]:
        batches.append(len(items))
        return put(scope, items, **options)

    cast(Any, a.cache).put_many = counted
    for n in range(20):
        a.store.set(f"k{n}", n)
    eventually(lambda: not any(a.owes(f"k{n}") for n in range(20)))
    assert sum(batches) == 20 and len(batches) < 10, batches  # one at a time without the pause


def test_by_hand_a_key_is_owed_until_it_was_fed_and_others_are_told(start: Start) -> None:
    a, b = start(feed="journal"), start()
    feeder = a.store._core.service.feeder
    assert feeder is not None
    feeder._ending.set()  # its thread does not start: `feed` is called by hand
    assert b.store.get("k") is None
    assert a.store.set("k", "v1").tiers["cache"] == "queued"
    assert a.owes("k") and not a.cache.puts
    a.cache.cut_off()
    assert feeder.feed() and a.owes("k")
    a.cache.reconnect()
    assert feeder.feed() and not a.owes("k") and a.cache.puts == ["k"]
    assert a.store.delete("k") and a.owes("k")
    assert feeder.feed() and not a.owes("k")
    assert b.store.get("k") is None
