"""The whole API over memory → File: one process, real disk, a hand-moved clock."""

from __future__ import annotations

import asyncio
import gc
import math
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.clocks import HandClock
from tiered import (
    AsyncTieredBackend,
    ConfigError,
    FileTier,
    InvalidKey,
    InvalidTtl,
    InvalidValue,
    MemoryTier,
    NotApplied,
    StoreUnavailable,
    TieredBackend,
    TieredError,
)
from tiered.errors import Reason


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def store(tmp_path: Path, clock: HandClock) -> Iterator[TieredBackend]:
    with TieredBackend(
        [MemoryTier(clock=clock), FileTier(tmp_path / "data", clock=clock)], shared=False, clock=clock
    ) as it:
        yield it


def test_reads_come_from_memory_first_and_from_the_file_after_a_restart(tmp_path: Path) -> None:
    with TieredBackend([MemoryTier(), FileTier(tmp_path)]) as store:
        outcome = store.set("k", {"a": [1, (2, 3)]})
        assert outcome.tiers == {"memory": "ok", "file": "ok"}
        assert store.lookup("k").tier == "memory"
    with TieredBackend([MemoryTier(), FileTier(tmp_path)]) as store:
        first, second = store.lookup("k"), store.lookup("k")
        assert (first.tier, second.tier) == ("file", "memory")
        assert first.value == second.value == {"a": [1, (2, 3)]}
        assert first.version == second.version == outcome.version


MUTABLE: dict[str, Any] = {
    "flat": {"a": 1, "b": "text", "c": None, "when": datetime(2026, 1, 1), 7: b"x"},
    "large": {f"field {n}": n for n in range(100)},
    "nested": {"a": 1, "list": [1, 2]},
    "in a tuple": {"a": (1, [2])},
}


@pytest.mark.parametrize("value", MUTABLE.values(), ids=MUTABLE)
def test_a_dict_is_ones_own_whatever_is_done_to_it(tmp_path: Path, value: dict[Any, Any]) -> None:
    def change(it: dict[Any, Any]) -> None:
        for inner in it.values():
            if isinstance(inner, list):
                inner.append("changed")
        it["a"] = "changed"
        it.popitem()

    expected = repr(value)
    with TieredBackend([MemoryTier(), FileTier(tmp_path)]) as store:
        given = deepcopy(value)
        store.set("k", given)
        change(given)
        for _ in range(2):
            for got in (store.get("k"), store.lookup("k").value, store.get_many(["k"])["k"]):
                assert repr(got) == expected  # the order, too
                change(got)
    with TieredBackend([MemoryTier(), FileTier(tmp_path)]) as store:
        for _ in range(3):
            got = store.get("k")
            assert repr(got) == expected
            change(got)
        assert store.lookup("k").tier == "memory"


def test_a_flat_dict_in_memory_is_counted_with_all_it_holds(tmp_path: Path) -> None:
    values = {f"k{n}": {f"field {i}": f"{n} {i} text" for i in range(20)} for n in range(1000)}
    with TieredBackend([MemoryTier(), FileTier(tmp_path)]) as store:
        store.set_many(values)
    with TieredBackend([MemoryTier(), FileTier(tmp_path)]) as store:
        store.get("no such key")  # what the first read of all opens
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for key in values:
            store.get(key)
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        counted = store.stats()["memory"]["bytes"]
        assert counted / 2 < taken <= counted


def test_every_operation(store: TieredBackend) -> None:
    assert store.get("k") is None and store.get("k", 5) == 5
    assert not store.lookup("k").found
    store.set("k", 1)
    assert store["k"] == 1 and "k" in store and "x" not in store
    assert set(store) == set(store.keys()) and "k" in list(store)
    assert store.add("k", 2) is None and store.get("k") == 1
    added = store.add("new", 2)
    assert added is not None and store.get("new") == 2
    assert store.delete("new") is True and store.delete("new") is False
    with pytest.raises(KeyError):
        store["new"]
    store["m"] = None
    assert "m" in store and store.get("m", "default") is None
    del store["m"]
    with pytest.raises(KeyError):
        del store["m"]
    assert store.increment("n") == 1 and store.increment("n", 5) == 6 and store.increment("n", -7) == -1
    assert store.update("list", lambda old: [*old, 1], default=[]) == [1]
    assert store.update("list", lambda old: [*old, 2]) == [1, 2]
    many = store.set_many({f"p{i}": i for i in range(5)})
    assert len({outcome.version for outcome in many.values()}) == 5
    assert store.get_many(["p3", "nope", "p1", "p1"]) == {"p3": 3, "p1": 1}
    assert store.delete_many(["p0", "nope"]) == {"p0": True, "nope": False}
    assert list(store.keys("p")) == ["p1", "p2", "p3", "p4"]
    assert dict(store.items("p")) == {"p1": 1, "p2": 2, "p3": 3, "p4": 4}
    assert store.health()["file"]["ok"] and store.stats()["namespace"]["sets"] > 0


def test_a_callers_changes_stay_the_callers(store: TieredBackend) -> None:
    mine = {"list": [1]}
    store.set("k", mine)
    mine["list"].append(2)
    got = store.get("k")
    got["list"].append(3)
    assert store.get("k") == {"list": [1]}


def test_expiry_is_one_instant_in_every_tier(store: TieredBackend, clock: HandClock) -> None:
    store.set("k", "v", ttl=10)
    store.set("d", "v", ttl=timedelta(seconds=10))
    assert store.ttl("k") == pytest.approx(10) and store.ttl("nope") is None
    clock.advance(9.9)
    assert store.get("k") == "v"
    assert store.touch("d", 60) is True and store.touch("nope", 60) is False
    clock.advance(0.2)
    assert store.get("k") is None and store.get_many(["k"]) == {} and list(store.keys("k")) == []
    assert store.add("k", "again") is not None
    assert store.ttl("k") == math.inf
    assert store.ttl("d") == pytest.approx(59.8)
    assert store.update("d", lambda v: v + "2") == "v2"
    assert store.ttl("d") == pytest.approx(59.8)


def test_what_ttl_says_of_one_key_is_the_ttl_of_another(store: TieredBackend) -> None:
    store.set("old", 1)
    ttl = store.ttl("old")
    assert ttl == math.inf
    writes: dict[str, Callable[[], object]] = {
        "set": lambda: store.set("set", 1, ttl=ttl),
        "add": lambda: store.add("add", 1, ttl=ttl),
        "set_many": lambda: store.set_many({"set_many": 1}, ttl=ttl),
        "increment": lambda: store.increment("increment", ttl=ttl),
        "get_or_set": lambda: store.get_or_set("get_or_set", lambda: 1, ttl=ttl),
    }
    for key, write in writes.items():
        write()
        assert store.ttl(key) == math.inf
    for change in (lambda: store.touch("short", ttl), lambda: store.update("short", lambda value: value, ttl=ttl)):
        store.set("short", 1, ttl=60)
        change()
        assert store.ttl("short") == math.inf


@pytest.mark.parametrize("ttl", [0, -1, math.nan, -math.inf, "10", True, timedelta(0), 10**12])
def test_a_ttl_that_makes_no_sense_is_refused_before_anything_is_written(store: TieredBackend, ttl: Any) -> None:
    with pytest.raises(ValueError, match="ttl"):
        store.set("k", 1, ttl=ttl)
    assert "k" not in store


@pytest.mark.parametrize("key", ["", "x" * 1025, "é" * 600, "x" * 2**20, "a\ud800b", 7, None, b"bytes", ["list"]])
def test_a_key_that_cannot_be_stored_is_refused_by_every_operation(store: TieredBackend, key: Any) -> None:
    for call in (
        lambda: store.get(key),
        lambda: store.set(key, 1),
        lambda: store.delete(key),
        lambda: store.lookup(key),
        lambda: store.get_many([key]),
        lambda: store.update(key, lambda v: v),
    ):
        with pytest.raises(InvalidKey):
            call()


@pytest.mark.parametrize("key", ["../x", "a\0b", "a\nb", "a\r\nb", "x" * 1024, "ключ", "*", "a:b", "{x}", "%00", " "])
def test_a_strange_key_is_just_a_key(store: TieredBackend, key: str, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    store.set(key, "value")
    assert store.get(key) == "value" and list(store.keys(key)) == [key]
    assert store.delete(key)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("value", [object(), lambda: 1, "\ud800", type("S", (str,), {})("x")])
def test_a_value_that_would_change_is_refused(store: TieredBackend, value: Any) -> None:
    with pytest.raises(InvalidValue):
        store.set("k", value)
    with pytest.raises(InvalidValue):
        store.set_many({"good": 1, "k": [value]})
    assert "k" not in store and "good" not in store


def test_namespaces_are_separate_and_clear_empties_only_its_own(store: TieredBackend) -> None:
    other = store.namespace("other")
    store.set("k", 1)
    other.set("k", 2)
    assert (store.get("k"), other.get("k")) == (1, 2)
    other.clear()
    assert (store.get("k"), other.get("k")) == (1, None)
    other.set("k", 3)
    assert other.get("k") == 3
    with pytest.raises(ConfigError):
        store.namespace("a/b")


@pytest.mark.parametrize("record", ["memory", "file", "redis", "redis with a journal"])
def test_the_namespaces_of_the_record_are_listed(record: str, redis_url: str, tmp_path: Path) -> None:
    redis, journal = f"{redis_url}?timeout=5s&connect_timeout=5s", None
    if record == "redis with a journal":
        redis, journal = f"{redis}&name=near&prefix=near,{redis}", tmp_path / "journal"
    url = {"memory": "memory://", "file": f"memory://,file:{tmp_path}/data"}.get(record, f"memory://,{redis}")
    with TieredBackend.from_url(url, journal=journal) as store:
        assert store.namespaces() == [] and store.get("k") is None
        for name in ("b", "a"):
            store.namespace(name).set("k", 1)
        assert store.namespaces() == ["a", "b"], "what was only read, as default was, is none"
        assert asyncio.run(AsyncTieredBackend.over(store).namespaces()) == store.namespace("a").namespaces()
    with pytest.raises(TieredError, match="closed"):
        store.namespaces()


def test_get_or_set_runs_one_loader_and_gives_each_caller_its_own_copy(store: TieredBackend) -> None:
    calls, started = [], threading.Barrier(6)

    def loader() -> list[int]:
        calls.append(1)
        release.wait(5)
        return [1]

    release, results = threading.Event(), list[Any]()

    def ask() -> None:
        started.wait()
        results.append(store.get_or_set("k", loader, ttl=60))

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    started.wait()
    while store.stats()["namespace"]["joined"] < 4:
        pass
    release.set()
    for thread in threads:
        thread.join()
    assert len(calls) == 1 and results == [[1]] * 5
    assert len({id(result) for result in results}) == 5


def test_a_failing_loader_serves_what_expired_lately_if_asked_to(store: TieredBackend, clock: HandClock) -> None:
    def broken() -> str:
        raise RuntimeError("down")

    assert store.get_or_set("k", lambda: "old", ttl=10, stale_ttl=100) == "old"
    clock.advance(50)
    assert store.get("k") is None
    with pytest.raises(RuntimeError):
        store.get_or_set("k", broken, ttl=10)
    assert store.get_or_set("k", broken, ttl=10, stale_ttl=100) == "old"
    clock.advance(100)
    with pytest.raises(RuntimeError):
        store.get_or_set("k", broken, ttl=10, stale_ttl=100)


def test_the_window_of_a_counter_does_not_move(store: TieredBackend, clock: HandClock) -> None:
    assert store.increment("hits:7", ttl=60) == 1
    clock.advance(40)
    assert store.increment("hits:7", ttl=60) == 2
    assert store.ttl("hits:7") == pytest.approx(20, abs=0.01)
    clock.advance(20)
    assert store.increment("hits:7", 5, ttl=60) == 5
    assert store.ttl("hits:7") == pytest.approx(60, abs=0.01)
    store.set("for ever", 1)
    store.increment("for ever", ttl=60)
    assert store.ttl("for ever") == math.inf
    with pytest.raises(InvalidTtl):
        store.increment("for ever", ttl=0)


def test_an_async_function_is_refused_by_its_name_and_nothing_is_written(store: TieredBackend) -> None:
    async def late(*_: Any) -> int:
        return 1

    for call in (lambda: store.update("k", late), lambda: store.get_or_set("k", late)):
        with pytest.raises(InvalidValue, match="the function is async; await it in AsyncTieredBackend"):
            call()
    assert "k" not in store


def test_parallel_increments_lose_nothing(store: TieredBackend) -> None:
    def work() -> None:
        for _ in range(50):
            store.increment("n")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get("n") == 200


def test_an_update_that_raises_writes_nothing(store: TieredBackend) -> None:
    store.set("k", 1)
    with pytest.raises(ZeroDivisionError):
        store.update("k", lambda v: v / 0)
    store.set("s", "text")
    with pytest.raises(InvalidValue):
        store.increment("s")
    assert store.get("k") == 1 and store.get("s") == "text"


def test_an_update_that_cannot_read_is_not_applied(store: TieredBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    store.set("k", 1)

    def down(*_: object) -> Any:
        raise StoreUnavailable("no answer", tier="file", reason=Reason.TIMEOUT)

    with monkeypatch.context() as patch:
        patch.setattr(store._core.chain.record, "read", down)
        for change in (lambda: store.update("k", str), lambda: store.increment("k"), lambda: store.touch("k", 5)):
            with pytest.raises(NotApplied, match="file: nothing was changed: no answer") as caught:
                change()
            assert caught.value.reason is Reason.TIMEOUT
    assert store.get("k") == 1


def test_after_close_every_operation_says_so(tmp_path: Path) -> None:
    store = TieredBackend([MemoryTier(), FileTier(tmp_path)])
    store.set("k", 1)
    store.close()
    store.close()
    for call in (lambda: store.get("k"), lambda: store.set("k", 1), lambda: list(store.keys()), store.clear):
        with pytest.raises(TieredError, match="closed"):
            call()


def test_a_second_process_is_seen_within_the_staleness_bound(tmp_path: Path) -> None:
    clock = HandClock()
    one, two = (TieredBackend([MemoryTier(clock=clock), FileTier(tmp_path)], clock=clock) for _ in range(2))
    with one, two:
        one.set("k", "old")
        assert two.get("k") == "old"
        one.set("k", "new")
        clock.advance(1.6)
        assert two.get("k") == "new"
        one.clear()
        clock.advance(1.6)
        assert two.get("k") is None


def test_a_chain_that_cannot_work_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        TieredBackend([])
    with pytest.raises(ConfigError, match="memory"):
        TieredBackend([MemoryTier(), MemoryTier(name="second")])
    with pytest.raises(ConfigError, match="differ"):
        TieredBackend([MemoryTier(), MemoryTier()])
