"""Reads of callers who know nothing of each other, done together: they join and are joined, and each has its own error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.by_hand import Process
from tests.loops import Gate
from tests.waiting import LIMIT, eventually, started
from tiered.errors import Reason, StoreUnavailable
from tiered.found import Found

Start = Callable[..., Process]
KEYS = [f"k{n}" for n in range(6)]


@pytest.fixture
def process(start: Start) -> Process:
    """One that has `KEYS` in its record and its cache, and nothing in memory."""
    process = start(entries=0)
    process.look(3)
    process.store.set_many({key: key for key in KEYS})
    process.look(2)
    return process


def together(process: Process, keys: Sequence[str]) -> dict[str, Found | Exception]:
    return process.store._core.service.reader.read_together(process.store._core.space, keys, {})


def values(found: dict[str, Found | Exception]) -> dict[str, Any]:
    return {key: it.slot[0] for key, it in found.items() if isinstance(it, Found) and it.slot is not None}


def damage(process: Process, key: str) -> None:
    inner = process.record.read_many

    def read_many(namespace: str, keys: Sequence[str]) -> Any:
        generation, frames = inner(namespace, keys)
        return generation, [b"damage" if it == key else frame for it, frame in zip(keys, frames, strict=True)]

    process.record.read_many = read_many


def test_one_round_trip_for_all(process: Process) -> None:
    process.cache.gets.clear()
    assert values(together(process, KEYS)) == {key: key for key in KEYS}
    assert process.cache.gets == KEYS and not process.store._core.space.flights.leaders


def test_a_read_of_a_thread_is_joined_and_the_others_are_read_meanwhile(process: Process) -> None:
    cache: Any = process.cache
    get = cache.get = Gate(cache.get)
    thread = started(lambda: process.store.get("k0"))
    eventually(lambda: get.reached)
    process.cache.gets.clear()
    batch = started(lambda: together(process, KEYS))
    eventually(lambda: process.store.stats()["namespace"]["coalesced"] == 1)
    assert process.cache.gets == KEYS[1:]
    get.open()
    assert thread.result(LIMIT) == "k0" and values(batch.result(LIMIT)) == {key: key for key in KEYS}
    assert process.cache.gets.count("k0") <= 1 and not process.store._core.space.flights.leaders


def test_threads_join_what_is_read_together(process: Process) -> None:
    cache: Any = process.cache
    get_many = cache.get_many = Gate(cache.get_many)
    batch = started(lambda: together(process, KEYS))
    eventually(lambda: get_many.reached)
    threads = [started(lambda key=key: process.store.get(key)) for key in KEYS]  # type: ignore[misc]
    eventually(lambda: process.store.stats()["namespace"]["coalesced"] == len(KEYS))
    get_many.open()
    assert [it.result(LIMIT) for it in threads] == KEYS and get_many.reached == 1
    assert values(batch.result(LIMIT)) == {key: key for key in KEYS}


def test_a_write_meanwhile_overtakes_its_own_key_only(process: Process) -> None:
    process.cache.after_get = lambda: process.store.set("k2", "new")
    assert values(together(process, KEYS)) == {key: "new" if key == "k2" else key for key in KEYS}


def test_damage_in_the_record_is_one_keys_error_and_never_promoted(process: Process) -> None:
    process.cache.server.memory.empty(process.cache.server.memory.partition("cache:" + process.store._core.space.scope))
    process.cache.puts.clear()
    damage(process, "k3")
    found = together(process, KEYS)
    error = found["k3"]
    assert isinstance(error, StoreUnavailable) and error.reason is Reason.SERIALIZATION
    assert values(found) == {key: key for key in KEYS if key != "k3"}
    assert process.cache.puts == [key for key in KEYS if key != "k3"] and not process.owes("k3")


def test_what_the_cache_could_not_say_is_owed_but_not_what_nobody_was_told(process: Process) -> None:
    process.cache.cut_off()
    damage(process, "k3")
    assert set(values(together(process, KEYS))) == set(KEYS) - {"k3"}
    assert [key for key in KEYS if process.owes(key)] == [key for key in KEYS if key != "k3"]


def test_a_record_that_is_away_fails_what_no_cache_knows(process: Process) -> None:
    memory = process.cache.server.memory
    memory.drop(memory.partition("cache:" + process.store._core.space.scope), "k1")

    def away(*_: object) -> Any:
        raise StoreUnavailable("away", tier="file", reason=Reason.CONNECTION)

    process.record.read = process.record.read_many = away
    found = together(process, KEYS)
    assert isinstance(found["k1"], StoreUnavailable) and values(found) == {key: key for key in KEYS if key != "k1"}


def test_what_fails_altogether_leaves_nobody_waiting(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(process.cache, "get_many", interrupted)
        together(process, KEYS)
    assert not process.store._core.space.flights.leaders
    assert process.store.get("k1") == "k1"
