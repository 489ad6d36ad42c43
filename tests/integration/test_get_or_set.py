"""`get_or_set` in one process: one loader, nothing overwritten, nothing restored, nobody stuck."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clocks import HandClock
from tests.waiting import LIMIT, eventually, started
from tiered import FileTier, InvalidValue, MemoryTier, NotApplied, RecursiveLoad, TieredBackend
from tiered.errors import Reason
from tiered.testing.chaos import Faults, FaultyRecord


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def record(tmp_path: Path, clock: HandClock) -> FaultyRecord:
    return FaultyRecord(FileTier(tmp_path / "data", clock=clock))


@pytest.fixture
def store(record: FaultyRecord, clock: HandClock) -> Iterator[TieredBackend]:
    with TieredBackend([MemoryTier(clock=clock), record], clock=clock) as it:
        yield it


class Held:
    """A loader that says when it runs, and ends when it is let go."""

    def __init__(self, value: Any = "loaded") -> None:
        self.value, self.calls = value, 0
        self.running, self.go = threading.Event(), threading.Event()

    def __call__(self) -> Any:
        self.calls += 1
        self.running.set()
        assert self.go.wait(LIMIT)
        if isinstance(self.value, BaseException):
            raise self.value
        return self.value

    def ask(self, store: TieredBackend, key: str = "k", **options: Any) -> Any:
        """A thread that asks with this loader, once the loader runs."""
        asked = started(lambda: store.get_or_set(key, self, **options))
        assert self.running.wait(LIMIT)
        return asked


def count(store: TieredBackend, name: str) -> int:
    return int(store.stats()["namespace"][name])


def never() -> Any:
    raise AssertionError("this loader must not run")


def test_32_threads_run_one_loader(store: TieredBackend) -> None:
    loader, barrier = Held(["value"]), threading.Barrier(32)

    def ask() -> Any:
        barrier.wait(LIMIT)
        return store.get_or_set("k", loader, ttl=60)

    asked = [started(ask) for _ in range(32)]
    eventually(lambda: count(store, "joined") == 31)
    loader.go.set()
    values = [one.result(LIMIT) for one in asked]
    assert loader.calls == count(store, "loads") == 1
    assert values == [["value"]] * 32 and len({id(value) for value in values}) == 32
    assert store.get_or_set("k", never) == ["value"]


def test_a_loaders_error_reaches_each_waiter_once_and_is_not_kept(store: TieredBackend) -> None:
    loader = Held(ZeroDivisionError("no"))
    asked = [loader.ask(store)] + [started(lambda: store.get_or_set("k", loader)) for _ in range(3)]
    eventually(lambda: count(store, "joined") == 3)
    loader.go.set()
    for one in asked:
        with pytest.raises(ZeroDivisionError):
            one.result(LIMIT)
    assert loader.calls == 1 and "k" not in store
    assert store.get_or_set("k", lambda: 1) == 1


def test_none_is_a_value_like_any_other(store: TieredBackend) -> None:
    assert store.get_or_set("k", lambda: None, ttl=10) is None
    assert store.get_or_set("k", never) is None


def test_an_interrupted_loader_is_taken_over_by_one_who_waits(store: TieredBackend) -> None:
    loader = Held(KeyboardInterrupt())
    first = loader.ask(store)
    second = started(lambda: store.get_or_set("k", lambda: "second"))
    eventually(lambda: count(store, "joined") == 1)
    loader.go.set()
    with pytest.raises(KeyboardInterrupt):
        first.result(LIMIT)
    assert second.result(LIMIT) == store.get("k") == "second"


def test_an_interrupted_loader_leaves_its_thread_free_to_load_again(store: TieredBackend) -> None:
    def interrupted() -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.get_or_set("k", interrupted)
    assert not store._core.space.loads  # or the next caller would wait for a load that nobody runs
    assert store.get_or_set("k", lambda: "again") == "again"


def test_a_loader_may_load_other_keys_and_one_who_asks_for_its_own_is_told(store: TieredBackend) -> None:
    assert store.get_or_set("a", lambda: store.get_or_set("b", lambda: 1) + 1) == 2
    assert store.get("b") == 1
    with pytest.raises(RecursiveLoad, match="'c'"):
        store.get_or_set("c", lambda: store.get_or_set("c", lambda: 1))
    with pytest.raises(RecursiveLoad):  # not even after a delete, which makes the load one that nobody joins
        store.get_or_set("c", lambda: store.delete("c") or store.get_or_set("c", lambda: 1))
    with pytest.raises(RecursiveLoad):  # a mistake is not hidden behind an expired value
        store.get_or_set("c", lambda: store.get_or_set("c", lambda: 1), ttl=1, stale_ttl=100)
    assert store.get_or_set("c", lambda: 3) == 3
    assert store.namespace("other").get_or_set("a", lambda: store.get_or_set("a", never)) == 2


def test_two_loaders_that_need_each_other_are_told_instead_of_waiting_for_ever(store: TieredBackend) -> None:
    both = threading.Barrier(2)

    def ask(mine: str, other: str) -> Any:
        def loader() -> Any:
            both.wait(LIMIT)
            return store.get_or_set(other, lambda: "other")

        return store.get_or_set(mine, loader)

    asked = [started(lambda: ask("a", "b")), started(lambda: ask("b", "a"))]
    errors = [one.exception(LIMIT) for one in asked]
    assert any(isinstance(error, RecursiveLoad) for error in errors)
    assert store.get_or_set("a", lambda: 1) == 1


def test_a_set_while_the_loader_runs_is_not_overwritten(store: TieredBackend) -> None:
    loader = Held()
    asked = loader.ask(store)
    store.set("k", "set")
    loader.go.set()
    assert asked.result(LIMIT) == store.get("k") == "set"
    assert count(store, "fenced") == 1


def test_a_set_by_another_process_while_the_loader_runs_is_not_overwritten(
    store: TieredBackend, tmp_path: Path, clock: HandClock
) -> None:
    loader = Held()
    asked = loader.ask(store)
    with TieredBackend([FileTier(tmp_path / "data", clock=clock)], clock=clock) as other:
        other.set("k", "set")
    loader.go.set()
    assert asked.result(LIMIT) == store.get("k") == "set"


@pytest.mark.parametrize("invalidate", [lambda store: store.delete("k"), lambda store: store.clear()])
def test_what_was_deleted_while_the_loader_ran_is_not_restored(
    store: TieredBackend, invalidate: Callable[[TieredBackend], object]
) -> None:
    before = Held("before")
    asked = before.ask(store)
    invalidate(store)
    after = started(lambda: store.get_or_set("k", lambda: "after"))  # must not be given what was loaded before
    eventually(lambda: count(store, "waited") == 1)
    before.go.set()
    assert asked.result(LIMIT) == "before"
    assert after.result(LIMIT) == store.get("k") == "after"


def test_a_clear_by_another_process_while_the_loader_runs_is_respected(
    store: TieredBackend, tmp_path: Path, clock: HandClock
) -> None:
    loader = Held()
    asked = loader.ask(store)
    with TieredBackend([FileTier(tmp_path / "data", clock=clock)], clock=clock) as other:
        other.set("x", 1)
        other.clear()
    loader.go.set()
    assert asked.result(LIMIT) == "loaded"
    assert "k" not in store


def test_a_delete_before_the_loader_runs_is_no_reason_not_to_store(store: TieredBackend) -> None:
    store.set("k", 1)
    store.delete("k")
    assert store.get_or_set("k", lambda: 2) == store.get("k") == 2
    assert count(store, "fenced") == 0


def test_nobody_waits_for_a_hung_loader_longer_than_patience(tmp_path: Path) -> None:
    with TieredBackend([MemoryTier(), FileTier(tmp_path)], load_patience=0.2) as store:
        hung = Held("late")
        asked = hung.ask(store)
        assert store.get_or_set("k", lambda: "second") == "second"
        hung.go.set()
        assert asked.result(LIMIT) == store.get("k") == "second"


def test_nobody_waits_for_more_than_two_hung_loaders(tmp_path: Path) -> None:
    with TieredBackend([FileTier(tmp_path)], load_patience=1.0) as store:
        hung = [Held() for _ in range(4)]
        asked = [hung[0].ask(store), *(started(lambda it=it: store.get_or_set("k", it)) for it in hung[1:])]
        eventually(lambda: all(it.calls for it in hung))
        assert (
            count(store, "joined") <= 3 + 2
        )  # three wait for the first, two of them for the second, none for the third
        for it in hung:
            it.go.set()
        assert {one.result(LIMIT) for one in asked} == {"loaded"}


def test_a_value_that_cannot_be_stored_raises(
    store: TieredBackend, clock: HandClock, record: FaultyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidValue):
        store.get_or_set("k", object)
    expired(store, clock)

    def full(*_: object, **__: object) -> Any:
        raise NotApplied("the disk is full", tier="file", reason=Reason.FULL)

    monkeypatch.setattr(record, "commit", full)
    with pytest.raises(NotApplied):  # the store failed, not the loader: the old value would hide it
        store.get_or_set("k", lambda: "new", ttl=10, stale_ttl=100)
    monkeypatch.undo()
    assert store.get_or_set("k", fails, ttl=10, stale_ttl=100) == "old"


@pytest.mark.parametrize(
    "options",
    [{"ttl": 0}, {"ttl": []}, {"ttl": True}, {"stale_ttl": -1}, {"refresh_ahead": 1}, {"ttl": 5, "refresh_ahead": 5}],
)
def test_times_that_make_no_sense_are_refused_even_on_a_hit(store: TieredBackend, options: dict[str, Any]) -> None:
    store.set("k", 1)
    assert store.get_or_set("k", never, ttl=1) == 1  # True is not taken for 1
    with pytest.raises(ValueError, match="ttl"):
        store.get_or_set("k", never, **options)


# Stale values


def expired(store: TieredBackend, clock: HandClock) -> None:
    store.get_or_set("k", lambda: "old", ttl=10, stale_ttl=100)
    clock.advance(50)


def fails() -> Any:
    raise OSError("the source is down")


def test_stale_is_served_while_another_thread_loads(store: TieredBackend, clock: HandClock) -> None:
    expired(store, clock)
    loader = Held("new")
    asked = loader.ask(store, ttl=10, stale_ttl=100)
    assert store.get_or_set("k", never, ttl=10, stale_ttl=100) == "old"
    waits = started(lambda: store.get_or_set("k", never, ttl=10))  # it did not ask for stale values
    eventually(lambda: count(store, "joined") == 1)
    loader.go.set()
    assert asked.result(LIMIT) == waits.result(LIMIT) == "new"
    assert count(store, "stale_served") == 1


def test_stale_is_served_while_another_process_loads(store: TieredBackend, tmp_path: Path, clock: HandClock) -> None:
    expired(store, clock)
    loader = Held("new")
    with TieredBackend([FileTier(tmp_path / "data", clock=clock)], clock=clock) as other:
        asked = loader.ask(other, ttl=10)
        assert store.get_or_set("k", never, ttl=10, stale_ttl=100) == "old"
        loader.go.set()
        assert asked.result(LIMIT) == "new"
    assert store.get("k") == "new"


def test_stale_is_served_to_nobody_who_did_not_ask_for_it(
    store: TieredBackend, clock: HandClock, record: FaultyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    expired(store, clock)
    asking, go = threading.Event(), threading.Event()

    def taken(*_: object) -> bool:
        monkeypatch.undo()
        asking.set()
        return not go.wait(LIMIT)  # False: another process has it

    monkeypatch.setattr(record.leases, "take", taken)
    first = started(lambda: store.get_or_set("k", never, ttl=10, stale_ttl=100))
    assert asking.wait(LIMIT)
    second = started(lambda: store.get_or_set("k", lambda: "new", ttl=10))
    eventually(lambda: count(store, "joined") == 1)
    go.set()
    assert first.result(LIMIT) == "old" and second.result(LIMIT) == "new"


def test_stale_ends_at_the_callers_limit_and_at_the_writers(store: TieredBackend, clock: HandClock) -> None:
    expired(store, clock)
    assert store.get_or_set("k", fails, ttl=10, stale_ttl=41) == "old"
    with pytest.raises(OSError):
        store.get_or_set("k", fails, ttl=10, stale_ttl=39)
    store.set("plain", 1, ttl=10)
    clock.advance(50)
    with pytest.raises(OSError):
        store.get_or_set("plain", fails, ttl=10, stale_ttl=100)


def test_stale_is_never_what_was_deleted(store: TieredBackend, clock: HandClock) -> None:
    expired(store, clock)
    store.delete("k")
    with pytest.raises(OSError):
        store.get_or_set("k", fails, ttl=10, stale_ttl=100)


def test_the_loaders_error_is_raised_when_no_stale_value_can_be_looked_up(
    store: TieredBackend, clock: HandClock, record: FaultyRecord
) -> None:
    expired(store, clock)

    def loader() -> Any:
        record.faults = Faults(before=1)
        fails()

    with pytest.raises(OSError, match="the source is down"):
        store.get_or_set("k", loader, ttl=10, stale_ttl=100)


def test_a_child_forked_during_a_load_does_not_wait_for_the_parents_thread(tmp_path: Path) -> None:
    with TieredBackend([FileTier(tmp_path)], load_patience=0.5) as store:
        loader = Held()
        asked = loader.ask(store)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = int(store.get_or_set("k", lambda: "child") != "child" or count(store, "joined") != 0)
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        loader.go.set()
        assert asked.result(LIMIT) == store.get("k") == "child"


def test_a_child_forked_by_the_loader_leaves_the_parents_lease_alone(tmp_path: Path) -> None:
    parent, code = os.getpid(), 1
    with TieredBackend([FileTier(tmp_path)]) as store:

        def loader() -> str:
            pid = os.fork()
            if pid == 0:
                return "child"
            assert os.waitpid(pid, 0)[1] == 0
            assert store._core.service.loading.leases.take(store._core.space, "k") is None  # it is still this process's
            return "parent"

        try:
            value = store.get_or_set("k", loader)
            code = int(value != "child" or "k" in store)
        finally:
            if os.getpid() != parent:
                os._exit(code)
        assert value == store.get("k") == "parent"
