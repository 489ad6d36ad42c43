"""`get_or_set`: loaders that ask for more, and loaders that are interrupted."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tiered import MemoryTier, TieredBackend, TieredError


@pytest.fixture
def store() -> Iterator[TieredBackend]:
    with TieredBackend([MemoryTier()]) as it:
        yield it


def test_a_loader_may_ask_for_other_keys(store: TieredBackend) -> None:
    assert store.get_or_set("a", lambda: store.get_or_set("b", lambda: 1) + 1) == 2
    assert store.get_many(["a", "b"]) == {"a": 2, "b": 1}


def test_a_loader_that_asks_for_its_own_key_is_told_instead_of_hanging(store: TieredBackend) -> None:
    with pytest.raises(TieredError, match="the very key that it is loading"):
        store.get_or_set("a", lambda: store.get_or_set("a", lambda: 1))
    with pytest.raises(TieredError, match="the very key that it is loading"):
        store.get_or_set("a", lambda: store.get_or_set("b", lambda: store.get_or_set("a", lambda: 1)))
    assert store.get_or_set("a", lambda: 1) == 1


def test_two_loaders_that_wait_for_each_other_are_told_instead_of_hanging(store: TieredBackend) -> None:
    both, outcomes = threading.Barrier(2), list[object]()

    def ask(mine: str, others: str) -> None:
        def loader() -> object:
            both.wait(30)
            return store.get_or_set(others, lambda: "never run")

        try:
            outcomes.append(store.get_or_set(mine, loader))
        except TieredError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=ask, args=pair, daemon=True) for pair in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(outcomes) == 2 and any("the very key" in str(outcome) for outcome in outcomes)


def test_who_waits_for_an_interrupted_loader_loads_itself(store: TieredBackend) -> None:
    answers: list[object] = []
    waiter = threading.Thread(target=lambda: answers.append(store.get_or_set("k", lambda: "mine")))

    def interrupted() -> object:
        waiter.start()
        deadline = time.monotonic() + 30
        while not store.stats()["namespace"]["coalesced"]:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.get_or_set("k", interrupted)
    waiter.join(30)
    assert answers == ["mine"]
