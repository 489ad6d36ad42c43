"""Two hosts, each with a journal of its own, on one Couchbase: one of them is cut off from Redis (promise 4, R7, R13)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.couchbase_servers import fresh
from tests.servers import RedisServer, free_port
from tests.waiting import eventually
from tiered import Ambiguous, CouchbaseTier, MemoryTier, RedisTier, TieredBackend
from tiered.errors import Reason, StoreUnavailable
from tiered.testing.chaos.proxy import Proxy
from tiered.tiers import couchbase_hosts

pytestmark = pytest.mark.faults

Open = Callable[..., TieredBackend]


@pytest.fixture
def open_host(couchbase_url: str, redis_server: RedisServer, tmp_path: Path) -> Iterator[Open]:
    prefix = fresh()
    with ExitStack() as stack:

        def build(name: str, *, redis_url: str = redis_server.url, entries: int = 1000) -> TieredBackend:
            record = CouchbaseTier(couchbase_url, prefix=prefix, timeout=30.0, connect_timeout=30.0)
            tiers = [MemoryTier(max_entries=entries), RedisTier(redis_url), record]
            return stack.enter_context(TieredBackend(tiers, journal=tmp_path / name))

        yield build


def in_service(store: TieredBackend) -> bool:
    state = store.health()["redis"]
    return bool(state["breaker"] == "closed" and not state["owed"])


def nowhere() -> str:
    """A Redis that cannot be reached."""
    return f"redis://127.0.0.1:{free_port()}/0"


def hosts_of(store: TieredBackend) -> Any:
    return store._core.chain.record.hosts  # type: ignore[attr-defined]  # of a journaled CouchbaseTier


@pytest.mark.parametrize("entries", [0, 1000])
def test_a_host_that_is_cut_off_from_redis_tells_the_others_before_it_acknowledges(
    open_host: Open, entries: int
) -> None:
    here = open_host("here", entries=entries)
    keys = [f"k{n}" for n in range(20)]
    here.set_many(dict.fromkeys(keys, "old"))
    here.set("gone", "old")
    eventually(lambda: in_service(here))
    cut_off = open_host("cut off", redis_url=nowhere())
    assert cut_off.get("k1") == "old"
    for key in keys:
        assert cut_off.set(key, "new").tiers["redis"] == "queued"
    cut_off.delete("gone")
    # Whatever this host looks at after the acknowledgement says so; before, its caches have a right to the old value.
    here._core.service.keeper.look()
    here._core.service.keeper.look()
    assert here.get_many([*keys, "gone"]) == dict.fromkeys(keys, "new")
    eventually(lambda: not hosts_of(here).notices() and in_service(here), "the replay by those who can")
    assert all(here.lookup(key).value == "new" for key in keys) and here.get("gone") is None
    reader = open_host("third", entries=0)
    eventually(lambda: reader.lookup("k1").tier == "redis")
    assert reader.get_many(keys) == dict.fromkeys(keys, "new")


def test_what_cannot_be_told_key_by_key_costs_a_generation(open_host: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(couchbase_hosts, "MOST", 5)
    here = open_host("here", entries=0)
    here.set_many({f"k{n}": "old" for n in range(20)})
    eventually(lambda: in_service(here))
    generation = here._core.chain.record.generation("default")
    cut_off = open_host("cut off", redis_url=nowhere())
    cut_off.set_many({f"k{n}": "new" for n in range(20)})
    assert hosts_of(cut_off).lost("redis") and not hosts_of(cut_off).notices()
    here._core.service.keeper.look()
    assert here.get_many([f"k{n}" for n in range(20)]) == {f"k{n}": "new" for n in range(20)}
    eventually(lambda: in_service(here) and not hosts_of(here).lost("redis"))
    assert here._core.chain.record.generation("default") > generation
    assert here.get("k7") == "new" == here.get("k7")


def test_a_write_that_others_cannot_be_told_of_is_ambiguous(open_host: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_off = open_host("cut off", redis_url=nowhere())
    cut_off.set("k", 1)

    def fails(*_: Any) -> None:
        raise StoreUnavailable("away", tier="couchbase", reason=Reason.TIMEOUT)

    monkeypatch.setattr(type(hosts_of(cut_off)), "tell", fails)
    stats = cut_off._core.chain.record_stats
    timed = sum(stats.durations["commit"].counts)
    with pytest.raises(Ambiguous, match="other hosts could not be told"):
        cut_off.set("k", 2)
    assert sum(stats.durations["commit"].counts) == timed + 1 and not any(stats.errors.values())  # it was committed
    assert cut_off.get("k") == 2


def test_a_notice_that_was_told_again_meanwhile_stays(open_host: Open) -> None:
    hosts = hosts_of(open_host("here"))
    hosts.tell("redis", "n", ["a", "b"])
    seen = hosts.notices("redis")
    hosts.tell("redis", "n", ["a"])
    hosts.settle("redis", seen)
    assert [it[:2] for it in hosts.notices("redis")] == [("n", "a")]
    assert hosts.notices("other") == [] and not hosts.lost("redis")


def test_a_host_whose_redis_hangs_now_and_then(open_host: Open, redis_server: RedisServer) -> None:
    """Its puts fail one by one, the others' do not: all agree in the end, and nobody has read backwards."""
    with Proxy("127.0.0.1", redis_server.port) as proxy:
        here, flaky = open_host("here"), open_host("flaky", redis_url=f"redis://127.0.0.1:{proxy.port}/0")
        seen = 0
        for n in range(1, 31):
            if n % 7 in (3, 6):
                (proxy.refuse if n % 7 == 3 else proxy.pass_through)()
            (flaky if n % 2 else here).set("k", n)
            assert (flaky if n % 2 else here).get("k") == n, "the process that wrote it, at once"
            now = here.get("k")
            assert now >= seen
            seen = now
        proxy.pass_through()
        eventually(lambda: here.get("k") == flaky.get("k") == 30)
        eventually(lambda: not hosts_of(here).notices() and in_service(here) and in_service(flaky))
