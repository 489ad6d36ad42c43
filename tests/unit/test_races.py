"""Two operations on one key in every order that matters, made to happen: one runs inside a step of the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tiered import FileTier, MemoryTier, TieredBackend
from tiered.errors import Ambiguous, NotApplied
from tiered.replication.inflight import Flight
from tiered.testing.chaos import Faults, FaultyRecord, FaultyTier
from tiered.tiers.base import Commit, Write


class Cache(FaultyTier):
    """A cache tier in whose calls something else happens once."""

    def __init__(self) -> None:
        super().__init__(MemoryTier(name="cache"))
        self.after_get: Callable[[], object] | None = None
        self.before_put: Callable[[], object] | None = None
        self.scopes: list[str] = []
        self.told: list[object] = []

    def get_many(self, scope: str, keys: Sequence[str]) -> list[bytes | None]:
        frames = super().get_many(scope, keys)
        hook, self.after_get = self.after_get, None
        if hook is not None:
            hook()
        return frames

    def put_many(self, scope: str, items: Sequence[tuple[str, bytes]], **options: Any) -> list[bool]:
        self.scopes.append(scope)
        self.told.append(options["tell"])
        hook, self.before_put = self.before_put, None
        if hook is not None:
            hook()
        return super().put_many(scope, items, **options)


class Record(FaultyRecord):
    """A file in whose commits something else happens once, after they are durable and before their caller knows."""

    after_commit: Callable[[], object] | None = None

    def commit(self, namespace: str, writes: Sequence[Write], *, marks: Sequence[str] = (), now: int) -> Commit:
        commit = super().commit(namespace, writes, marks=marks, now=now)
        hook, self.after_commit = self.after_commit, None
        if hook is not None:
            hook()
        return commit


Open = Callable[..., tuple[TieredBackend, Cache, Record]]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    stores: list[TieredBackend] = []

    def start(entries: int) -> tuple[TieredBackend, Cache, Record]:
        cache, record = Cache(), Record(FileTier(tmp_path))
        stores.append(TieredBackend([MemoryTier(max_entries=entries), cache, record], staleness=60))
        stores[-1].get("anything")
        stores[-1]._core.service.keeper.stop()  # nothing happens but what the test does
        return stores[-1], cache, record

    yield start
    for store in stores:
        store.close()


def test_no_going_back_a_write_that_is_slow_to_reach_memory_does_not_replace_a_newer_delete(opened: Open) -> None:
    store, _, record = opened(100)
    record.after_commit = lambda: store.delete("k")
    store.set("k", "v1")
    assert store.get("k") is None


def test_no_going_back_a_write_that_is_slow_to_reach_memory_does_not_replace_a_newer_one(opened: Open) -> None:
    store, _, record = opened(100)
    record.after_commit = lambda: store.set("k", "v2")
    store.set("k", "v1")
    assert store.get("k") == "v2" == store.lookup("k").value


def test_no_going_back_a_read_that_a_write_has_overtaken_is_read_again(opened: Open) -> None:
    store, cache, _ = opened(0)
    store.set("k", "v1")
    cache.after_get = lambda: store.set("k", "v2")  # the reader holds v1
    assert store.get("k") == "v2"
    store.replay()  # reading again past the cache left a debt
    cache.after_get = lambda: store.set("k", "v3")
    assert store.get_many(["k"]) == {"k": "v3"}


def test_no_going_back_memory_does_not_keep_what_a_write_has_overtaken(opened: Open) -> None:
    store, cache, _ = opened(100)
    store.set("k", "v1")
    store._core.chain.memory.forget_all()
    cache.after_get = lambda: store.delete("k")
    assert store.get("k") is None and store.get("k") is None


def test_no_going_back_while_a_cache_takes_a_write_nobody_reads_the_old_there(opened: Open) -> None:
    store, cache, _ = opened(0)
    store.set("k", "v1")
    seen: list[object] = []
    cache.before_put = lambda: seen.append(store.get("k"))  # v2 is committed, and the cache has v1
    store.set("k", "v2")
    assert seen == ["v2"]


def test_memory_keeps_the_newer_of_two(opened: Open) -> None:
    store, _, _ = opened(100)
    store.set("k", "v1")
    old = store._core.held("k")
    store.set("k", "v2")
    with store._core.chain.memory.lock:
        assert not store._core.chain.memory.admit(store._core.space.part, "k", old)
    assert store.get("k") == "v2"


def test_a_put_goes_into_the_generation_of_its_commit(opened: Open, tmp_path: Path) -> None:
    store, cache, record = opened(100)
    with TieredBackend([FileTier(tmp_path)]) as other:
        other.clear()
    store.set("k", "v")
    assert cache.scopes[-1] == f"default:{record.generation('default')}" == store._core.space.scope


def test_nobody_joins_a_read_that_began_too_long_ago(opened: Open) -> None:
    store, _, _ = opened(0)
    store.set("k", "v")
    old = Flight(store._core.chain.clock.monotonic() - 2 * store._core.chain.deadline)
    store._core.space.flights.leaders["k"] = old  # it will never land
    assert store.get("k") == "v" and old.done is None


def test_a_write_that_the_record_refused_was_seen_by_no_tier(opened: Open) -> None:
    store, cache, record = opened(100)
    record.faults = Faults(before=1)
    with pytest.raises(NotApplied):
        store.set("k", "v")
    record.faults = Faults()
    assert not store._core.space.part.slots and not cache.scopes
    assert store.get("k") is None


def test_a_write_that_may_have_happened_is_asked_of_the_record(opened: Open) -> None:
    store, _, record = opened(100)
    store.set("k", "v1")
    record.faults = Faults(after=1)
    with pytest.raises(Ambiguous):
        store.set("k", "v2")
    record.faults = Faults()
    assert store.get("k") == "v2"


@pytest.mark.parametrize("error", [Ambiguous, KeyboardInterrupt])
def test_memory_forgets_what_a_clear_may_have_removed(tmp_path: Path, error: type[BaseException]) -> None:
    """Alone in its directory, it is told by nobody."""

    class Record(FileTier):
        def clear(self, namespace: str) -> int:
            super().clear(namespace)
            raise error("after it was done")

    with TieredBackend([MemoryTier(), Record(tmp_path, sync="normal")], shared=False) as store:
        store.set("k", "v")
        with pytest.raises(error):
            store.clear()
        assert store.get("k") is None


def test_a_read_that_learns_of_a_clear_lets_memory_forget(opened: Open, tmp_path: Path) -> None:
    store, _, _ = opened(100)
    store.set("k", "v")
    with TieredBackend([FileTier(tmp_path)]) as other:
        other.clear()
        other.set("another", "new")
    assert store.get("another") == "new" and store.get("k") is None


def test_writes_and_replays_are_told_to_other_processes(opened: Open) -> None:
    store, cache, _ = opened(100)
    store.set("k", "v1")
    cache.faults = Faults(before=1)
    store.set("k", "v2")
    cache.faults = Faults()
    store.replay()
    assert cache.told == [True, True, True]  # the second failed, so the third replays it
