"""Early refresh: the present value at once, one loader in the background, in all processes together."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clocks import HandClock
from tests.integration.test_get_or_set import Held, count, fails, never
from tests.waiting import LIMIT, eventually
from tiered import FileTier, MemoryTier, TieredBackend
from tiered.refreshing import REST

OPTIONS: dict[str, Any] = {"ttl": 10, "refresh_ahead": 2}


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def store(tmp_path: Path, clock: HandClock) -> Iterator[TieredBackend]:
    with opened(tmp_path, clock) as it:
        yield it


def opened(tmp_path: Path, clock: HandClock) -> TieredBackend:
    return TieredBackend([MemoryTier(clock=clock), FileTier(tmp_path / "data", clock=clock)], clock=clock)


def near_expiry(store: TieredBackend, clock: HandClock) -> None:
    assert store.get_or_set("k", lambda: "old", **OPTIONS) == "old"
    clock.advance(7.9)
    assert store.get_or_set("k", never, **OPTIONS) == "old"
    assert not store._core.service.loading.refresher._pending  # not yet
    clock.advance(0.2)


def test_a_hit_near_its_expiry_is_served_at_once_and_loaded_once(store: TieredBackend, clock: HandClock) -> None:
    near_expiry(store, clock)
    loader = Held("new")
    for _ in range(20):
        assert store.get_or_set("k", loader, **OPTIONS) == "old"
    assert loader.running.wait(LIMIT)
    assert store.get_or_set("k", loader, **OPTIONS) == "old"
    loader.go.set()
    eventually(lambda: store.get("k") == "new")
    assert loader.calls == count(store, "refreshed") == 1
    assert store.ttl("k") == pytest.approx(10)
    assert store.get_or_set("k", never, **OPTIONS) == "new"


def test_two_processes_refresh_once(store: TieredBackend, tmp_path: Path, clock: HandClock) -> None:
    near_expiry(store, clock)
    loader = Held("new")
    with opened(tmp_path, clock) as other:
        assert other.get_or_set("k", loader, **OPTIONS) == "old"
        assert loader.running.wait(LIMIT)
        assert store.get_or_set("k", never, **OPTIONS) == "old"  # tries, finds the lease taken, and lets it be
        eventually(lambda: not store._core.service.loading.refresher._pending)
        loader.go.set()
        eventually(lambda: other.get("k") == "new")
        store.get_or_set("k", never, **OPTIONS)  # it may still have the old one in memory: it looks before it loads
        eventually(lambda: store.get("k") == "new")
    assert count(store, "loads") == 1 and count(other, "loads") == 1


def test_what_another_process_made_last_for_ever_is_not_loaded_again(
    store: TieredBackend, tmp_path: Path, clock: HandClock
) -> None:
    near_expiry(store, clock)
    with opened(tmp_path, clock) as other:
        other.set("k", "set")
    assert store.get_or_set("k", never, **OPTIONS) == "old"  # from memory, within the staleness bound
    eventually(lambda: store.get("k") == "set")
    eventually(lambda: not store._core.service.loading.refresher._pending)
    assert count(store, "loads") == 1 and count(store, "refresh_errors") == 0


def test_who_comes_after_the_expiry_waits_for_the_refresh(store: TieredBackend, clock: HandClock) -> None:
    near_expiry(store, clock)
    loader = Held("new")
    assert store.get_or_set("k", loader, **OPTIONS) == "old"
    assert loader.running.wait(LIMIT)
    clock.advance(5)
    values: list[Any] = []
    asking = threading.Thread(target=lambda: values.append(store.get_or_set("k", never, **OPTIONS)))
    asking.start()
    eventually(lambda: count(store, "joined") == 1)
    loader.go.set()
    asking.join(LIMIT)
    assert values == ["new"] and store.get("k") == "new"  # stored although what it was to replace has expired


def test_a_set_during_the_refresh_stays_and_a_delete_too(store: TieredBackend, clock: HandClock) -> None:
    for change, expected in ((lambda: store.set("k", "set"), "set"), (lambda: store.delete("k"), None)):
        store.delete("k")
        near_expiry(store, clock)
        loader = Held("new")
        assert store.get_or_set("k", loader, **OPTIONS) == "old"
        assert loader.running.wait(LIMIT)
        change()
        loader.go.set()
        eventually(lambda: not store._core.service.loading.refresher._pending)
        assert store.get("k") == expected


def test_a_failed_refresh_is_counted_told_and_not_repeated_at_once(
    store: TieredBackend, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    near_expiry(store, clock)
    for _ in range(20):
        assert store.get_or_set("k", fails, **OPTIONS) == "old"
        eventually(lambda: not store._core.service.loading.refresher._pending)
    assert count(store, "refresh_errors") == 1
    assert "a refresh of 'k' in namespace default in the background failed" in caplog.text
    clock.advance(REST)
    assert store.get_or_set("k", lambda: "new", **OPTIONS) == "old"
    eventually(lambda: store.get("k") == "new")


def test_a_forked_child_refreshes_on_threads_of_its_own(tmp_path: Path) -> None:
    clock = HandClock()
    with opened(tmp_path, clock) as store:
        near_expiry(store, clock)
        loader = Held("parent")
        assert store.get_or_set("k", loader, **OPTIONS) == "old"
        assert loader.running.wait(LIMIT)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                store.get_or_set("other", lambda: "old", **OPTIONS)
                clock.advance(8.5)
                store.get_or_set("other", lambda: "child", **OPTIONS)
                eventually(lambda: store.get("other") == "child")
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        loader.go.set()
        eventually(lambda: store.get("k") == "parent")


def test_close_ends_the_threads(tmp_path: Path, clock: HandClock) -> None:
    with opened(tmp_path, clock) as store:
        near_expiry(store, clock)
        store.get_or_set("k", lambda: "new", **OPTIONS)
        eventually(lambda: store.get("k") == "new")
        assert any(thread.name == "tiered-refresh" for thread in threading.enumerate())
        threads = set(store._core.service.loading.refresher._threads)
    assert not any(thread.is_alive() for thread in threads)
