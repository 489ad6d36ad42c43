"""`read_order="measured"`: who is asked first, and that what was passed by is not believed too early (r18)."""

from __future__ import annotations

from itertools import cycle
from types import SimpleNamespace
from typing import Any

import pytest

from tests.by_hand import Process
from tests.unit.conftest import Start
from tiered import ConfigError, MemoryTier, TieredBackend
from tiered.replication.order import TIMINGS

FAST, SLOW = 0.00001, 0.0001


def measure(process: Process, record: float, cache: float, times: int = TIMINGS) -> None:
    """As if the tiers had taken so long, at so many looks."""
    order = process.store._core.chain.order
    order._timer = cycle((0.0, record, 0.0, cache)).__next__
    for _ in range(times):
        order.measure()


@pytest.fixture
def a(start: Start) -> Process:
    """Reads as measured, and has no room in memory, so that every read shows who answers."""
    a = start(read_order="measured", entries=0)
    a.store.set("k", "v1")
    a.record.journal.flush()
    a.look(2)
    assert a.store.lookup("k").tier == "cache"  # as declared, before anything was measured
    return a


def test_a_cache_that_is_slower_than_the_record_is_not_asked_and_owed_nothing(a: Process) -> None:
    measure(a, FAST, SLOW)
    asked = len(a.cache.gets)
    assert a.store.lookup("k").tier == "file" and a.store.get_many(["k", "none"]) == {"k": "v1"}
    assert len(a.cache.gets) == asked and not a.guard.owed


def test_a_read_under_way_when_the_cache_becomes_the_faster_one_has_passed_it_by(a: Process) -> None:
    record = a.store._core.chain.record
    read = record.read

    def changes(namespace: str, key: str) -> tuple[int, bytes | None]:
        answer = read(namespace, key)
        record.read = read  # type: ignore[method-assign]  # a double
        measure(a, SLOW, FAST)
        return answer

    measure(a, FAST, SLOW)
    record.read = changes  # type: ignore[method-assign]  # a double
    assert a.store.lookup("k").tier == "file"
    assert a.store.lookup("k").tier == "file"  # what was read just now may be newer than what the cache has
    a.clock.advance(0.1)
    a.look(2)
    assert a.store.lookup("k").tier == "cache"


def test_a_few_timings_change_nothing_and_a_faster_cache_is_asked(a: Process) -> None:
    measure(a, FAST, SLOW, TIMINGS - 1)
    assert a.store.lookup("k").tier == "cache"
    measure(a, SLOW, FAST)
    assert a.store.lookup("k").tier == "cache"


def test_the_order_does_not_flap_between_tiers_that_are_about_as_fast(a: Process) -> None:
    measure(a, FAST, 1.5 * FAST)
    assert a.store.lookup("k").tier == "cache"
    measure(a, FAST, SLOW)
    measure(a, FAST, 1.5 * FAST)
    assert a.store.lookup("k").tier == "file"
    measure(a, FAST, 0.9 * FAST)
    a.clock.advance(0.1)
    a.look(2)
    assert a.store.lookup("k").tier == "cache"


def test_writes_reach_a_cache_that_reads_pass_by(a: Process, start: Start) -> None:
    measure(a, FAST, SLOW)
    a.store.set("k", "v2")
    a.record.journal.flush()
    assert start(entries=0).store.lookup("k")[:3] == (True, "v2", "cache")


def test_no_going_back_when_a_cache_is_asked_again(a: Process, start: Start) -> None:
    """A reads v2, of which the cache was told nothing, from the record; then the cache is the faster one."""
    measure(a, FAST, SLOW)
    b = start()
    b.cache.cut_off()
    b.store.set("k", "v2")
    assert a.store.get("k") == "v2" and not a.owes("k")
    measure(a, SLOW, FAST)
    assert a.store.get("k") == "v2"
    assert a.store.lookup("k").tier == "file"  # it is owed now, until it was replayed
    a.clock.advance(0.1)
    a.look(3)
    assert a.store.lookup("k")[:3] == (True, "v2", "cache")


def test_what_was_read_of_other_keys_counts_too(a: Process, start: Start) -> None:
    """One moment for all keys: each read that passes the cache by puts it off."""
    b = start()
    measure(a, FAST, SLOW)
    b.cache.cut_off()
    b.store.set("other", "v2")
    assert a.store.get_many(["k", "other"]) == {"k": "v1", "other": "v2"}
    measure(a, SLOW, FAST)
    assert a.store.get("other") == "v2"


def test_a_cache_out_of_service_is_measured_when_it_is_back(a: Process) -> None:
    a.guard.breaker.trip()
    measure(a, FAST, SLOW)
    assert a.store._core.chain.order.passed == []
    a.readmit()
    measure(a, FAST, SLOW)
    assert a.store._core.chain.order.passed == [a.guard]


def test_a_child_begins_as_declared(a: Process) -> None:
    measure(a, FAST, SLOW)
    a.store._core.chain.after_fork_in_child()
    assert a.store._core.chain.order.asked == [a.guard] and a.store._core.chain.order.passed == []


@pytest.mark.parametrize("options", [{"read_order": "measured"}, {"feed": "journal"}])
def test_a_record_without_marks_is_refused_with_what_to_do(options: dict[str, str]) -> None:
    record = MemoryTier(name="record")
    with pytest.raises(ConfigError, match="give journal="):
        TieredBackend([_plain(MemoryTier(name="cache")), _plain(record)], **options)


@pytest.mark.parametrize("option", ["read_order", "feed"])
def test_an_unknown_choice_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=f"{option} must be one of"):
        TieredBackend([MemoryTier()], **{option: "fastest"})  # type: ignore[arg-type]


def _plain(tier: MemoryTier) -> Any:
    """What the tier can, of a third party: it is no `MemoryTier`, so it may stand anywhere."""
    offered = {name: getattr(tier, name) for name in dir(tier) if not name.startswith("_")}
    return SimpleNamespace(**offered)
