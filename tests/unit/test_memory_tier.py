"""The memory tier: its bounds, its policy, and that it survives threads."""

from __future__ import annotations

import math
import random
import sys
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.clocks import HandClock
from tiered import FileTier, MemoryTier, NotApplied, TieredBackend
from tiered.errors import Reason
from tiered.tiers.partitions import Partition
from tiered.tiers.slru import SegmentedLRU


def test_bounded_by_entries_and_by_bytes() -> None:
    memory = MemoryTier(max_entries=100, max_bytes=100_000)
    with TieredBackend([memory]) as store:
        for n in range(1000):
            store.set(f"k{n}", "x")
            assert memory.entries <= 100
        for n in range(1000):
            store.set(f"k{n}", "x" * 5000)
            assert memory.bytes <= 100_000
        assert memory.entries > 0


def test_a_value_larger_than_the_tier_is_not_held_and_leaves_nothing_old(tmp_path: object) -> None:
    from tiered import FileTier

    with TieredBackend([MemoryTier(max_bytes=10_000), FileTier(str(tmp_path))]) as store:
        store.set("k", "old")
        outcome = store.set("k", "x" * 20_000)
        assert outcome.tiers == {"memory": "skipped", "file": "ok"}
        assert store.lookup("k").tier == "file"
        assert store.get("k") == "x" * 20_000


@pytest.mark.parametrize("limits", [{"max_bytes": 10_000}, {"max_entries": 0}])
def test_without_a_tier_below_a_value_that_does_not_fit_is_refused_not_acknowledged(limits: dict[str, int]) -> None:
    with TieredBackend([MemoryTier(**limits)]) as store:
        for write in (lambda: store.set("k", "x" * 20_000), lambda: store.set_many({"a": "x", "k": "x" * 20_000})):
            with pytest.raises(NotApplied, match="add a tier below") as caught:
                write()
            assert caught.value.reason is Reason.TOO_LARGE
        assert list(store.keys()) == []


def test_sizes_add_up_after_random_work() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng, memory = random.Random(seed), MemoryTier(max_entries=50)
    with TieredBackend([memory]) as store:
        views = [store, store.namespace("a"), store.namespace("b")]
        for _ in range(3000):
            view, key = rng.choice(views), f"k{rng.randrange(80)}"
            match rng.randrange(3):
                case 0:
                    view.get(key)
                case 1:
                    view.set(key, "v" * rng.randrange(99))
                case _:
                    view.delete(key)
        parts = memory._partitions.values()
        assert memory.bytes == sum(part.bytes for part in parts)
        assert memory.entries == sum(len(part.slots) for part in parts if part.of is None)
        assert all(len(part.policy) == len(part.slots) for part in parts)


class Unlisted(dict[str, Partition]):
    """Namespaces that nobody goes through: they may be many thousands."""

    def values(self) -> Any:
        raise AssertionError("every namespace was looked at")


def test_emptying_one_namespace_looks_at_no_other_and_the_sizes_add_up() -> None:
    memory, slot = MemoryTier(), ("v", 1.0, None, 1, 0, 0.0, 1.0, 50)
    with memory.lock:
        parts = [memory.partition(f"n{n}") for n in range(3)]
        for number, part in enumerate(parts, 1):
            for n in range(number):
                memory.admit(part, f"k{n}", slot)
        memory._partitions = Unlisted(memory._partitions)
        memory.empty(parts[1])
        assert not parts[1].slots and len(parts[1].policy) == 0
        assert memory.entries == 4 and memory.bytes == parts[0].bytes + parts[2].bytes
        for part in parts:
            memory.empty(part)
        assert (memory.entries, memory.bytes) == (0, 0)
        memory.admit(parts[1], "k", slot)
        assert memory.entries == 1


def test_emptying_a_namespace_whose_books_are_wrong_puts_all_right() -> None:
    memory, slot = MemoryTier(), ("v", 1.0, None, 1, 0, 0.0, 1.0, 50)
    with memory.lock:
        torn, other = memory.partition("torn"), memory.partition("other")
        memory.admit(other, "k", slot)
        memory.admit(torn, "k", slot)
        torn.slots["half"], torn.whole = slot, False  # as a `MemoryError` leaves it
        memory.entries += 7
        memory.empty(torn)
        assert (memory.entries, memory.bytes) == (1, other.bytes) and torn.whole


def test_hit_share_is_not_below_an_exact_lru_of_the_same_size() -> None:
    rng = random.Random(7)
    keys = [f"k{int(rng.paretovariate(0.9)) % 5000}" for _ in range(60_000)]
    policy, held, hits = SegmentedLRU(), set[str](), 0
    lru: OrderedDict[str, None] = OrderedDict()
    lru_hits = 0
    for key in keys:
        if key in held:
            hits += 1
            policy.touch(deque([key]))
        else:
            policy.add(key)
            held.add(key)
            if len(held) > 300:
                held.remove(policy.evict())
        if key in lru:
            lru_hits += 1
            lru.move_to_end(key)
        else:
            lru[key] = None
            if len(lru) > 300:
                lru.popitem(last=False)
    assert hits >= lru_hits


def test_threads_with_a_tiny_switch_interval_leave_it_consistent() -> None:
    memory = MemoryTier(max_entries=40)
    store = TieredBackend([memory])
    failures: list[BaseException] = []

    def work(number: int) -> None:
        rng = random.Random(number)
        try:
            for _ in range(800):
                key = f"k{rng.randrange(100)}"
                value = store.get(key)
                assert value is None or value[0] == key
                store.set(key, [key, rng.random()])
        except BaseException as error:
            failures.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not failures
    parts = memory._partitions.values()
    assert memory.entries == sum(len(part.slots) for part in parts if part.of is None) <= 40
    assert all(len(part.policy) == len(part.slots) for part in parts)
    store.close()


def test_the_policy_takes_probation_first_and_what_was_touched_last() -> None:
    policy = SegmentedLRU()
    for key in "abcde":
        policy.add(key)
    noted = deque(["a", "gone"])  # the second was noted by a reader and evicted meanwhile
    policy.touch(noted)
    policy.remove("c")
    assert len(policy) == 4 and not noted
    assert [policy.evict() for _ in range(4)] == ["b", "d", "e", "a"] and len(policy) == 0


@pytest.mark.parametrize("held", [1, 4, 5, 100])
def test_what_was_added_last_is_not_what_goes_next(held: int) -> None:
    policy = SegmentedLRU()
    for n in range(held):
        policy.add(f"old{n}")
    policy.touch(deque(f"old{n}" for n in range(held)))
    for key in list(policy._probation):
        policy.remove(key)
    policy.add("new")
    for _ in range(len(policy) - 1):
        policy.refill()
        assert policy.evict() != "new"
    assert policy.evict() == "new" and len(policy) == 0


def test_entries_have_their_deadlines_in_common(tmp_path: Path) -> None:
    """None of its own that a hit would have to fetch: its end, if that comes first, or the one of those before, if it is hardly earlier."""
    clock = HandClock()
    with TieredBackend([MemoryTier(clock=clock)], clock=clock) as alone:
        alone.set_many({"a": 1, "b": {"c": 2}})
        slots = alone._core.space.part.slots
        assert slots["a"][1] is slots["b"][1] and math.isinf(slots["a"][1])
    with TieredBackend([MemoryTier(clock=clock), FileTier(tmp_path, clock=clock)], clock=clock, staleness=1.5) as store:
        slots, seen = store._core.space.part.slots, set[float]()
        store.set("k", 1, ttl=1)
        assert slots["k"][1] is slots["k"][6]
        for _ in range(100):
            clock.advance(0.001)
            store.set("k", 1)
            assert 1.49 < slots["k"][1] - slots["k"][5] <= 1.5
            seen.add(slots["k"][1])
        assert len(seen) <= 12
        chain = store._core.chain
        for until in (2000.0, 2000.009, 1999.999, 1990.0, 1990.005):  # of what was proven longer ago it is earlier
            assert until - 0.01 < chain._deadline(until, math.inf) <= until


def test_a_namespace_that_others_have_outgrown_still_takes_what_is_written() -> None:
    memory = MemoryTier(max_entries=400)
    with memory.lock:
        large, small = memory.partition("large"), memory.partition("small")

        def admit(part: Any, key: str) -> None:
            memory.admit(part, key, ("v", 1.0, None, 1, 0, 0.0, 1.0, 50))

        for n in range(300):
            admit(large, f"k{n}")
        large.touched.extend(f"k{n}" for n in range(300))
        for n in range(190):  # now `large` loses what is on probation there
            admit(small, f"s{n}")
        for n in range(20):
            admit(large, f"new{n}")
            assert f"new{n}" in large.slots


def test_forgetting_what_is_older_leaves_what_is_not() -> None:
    memory = MemoryTier()
    with memory.lock:
        part = memory.partition("n")
        memory.admit(part, "k", ("v", 1.0, None, 7, 0, 0.0, 1.0, 1))
        assert not memory.drop_older(part, "k", 7) and "k" in part.slots
        assert memory.drop_older(part, "k", 8) and "k" not in part.slots
        assert not memory.drop_older(part, "k", 8)


@pytest.mark.parametrize(("most", "at_once"), [(5, 1), (1000, 7), (10_000, 32)])
def test_a_full_tier_lets_a_few_of_its_coldest_go_at_a_time(most: int, at_once: int) -> None:
    memory, slot = MemoryTier(max_entries=most), ("v", 1.0, None, 1, 0, 0.0, 1.0, 50)
    with memory.lock:
        part, least = memory.partition("n"), most
        for n in range(most + 100):
            memory.admit(part, f"k{n}", slot)
            least = min(least, memory.entries) if n >= most else least
            assert memory.entries == len(part.slots) == n + 1 - memory.evictions <= most
    assert least == most + 1 - at_once
    assert list(part.slots) == [f"k{n}" for n in range(memory.evictions, most + 100)]


def test_cold_entries_that_are_large_do_not_all_go_for_a_small_one() -> None:
    """Those of a bulk load, say, beside thousands of small ones: no more leaves than makes room."""
    memory, large = MemoryTier(max_bytes=16 * 2**20), 400_000
    with memory.lock:
        part = memory.partition("n")
        for n in range(20):
            memory.admit(part, f"large{n}", ("v", 1.0, None, 1, 0, 0.0, 1.0, large))
        n = 0
        while not memory.evictions:
            memory.admit(part, f"small{n}", ("v", 1.0, None, 1, 0, 0.0, 1.0, 1000))
            n += 1
    assert n > 5000 and memory.evictions == 1
    assert sum(key.startswith("large") for key in part.slots) == 19


# Alone: what it keeps as the record, and the copies that it serves from


@pytest.fixture
def standing_alone() -> Iterator[Callable[..., tuple[TieredBackend, MemoryTier]]]:
    with ExitStack() as stack:

        def make(**limits: int) -> tuple[TieredBackend, MemoryTier]:
            tier = MemoryTier(**limits)
            return stack.enter_context(TieredBackend([tier])), tier

        yield make


Alone = Callable[..., tuple[TieredBackend, MemoryTier]]


def agree(store: TieredBackend, tier: MemoryTier) -> None:
    """Whatever is served is in the record, and what is counted is there."""
    served, kept = tier.partition("default").slots, tier.partition("record:default").slots
    assert served.keys() <= kept.keys()
    assert tier.entries == len(kept) == len(list(store.keys())) <= tier.max_entries
    assert tier.bytes <= tier.max_bytes


def test_alone_it_holds_as_many_as_it_may(standing_alone: Alone) -> None:
    store, tier = standing_alone(max_entries=100)
    for number in range(150):
        store.set(f"k{number}", number)
        agree(store, tier)
    assert tier.entries == 100


def test_alone_what_is_read_most_is_kept_longest(standing_alone: Alone) -> None:
    store, tier = standing_alone(max_entries=100)
    store.set("hot", 41)
    for number in range(300):
        store.set(f"k{number}", number)
        assert store.get("hot") == 41
        agree(store, tier)
    assert store.increment("hot") == 42 and store.add("hot", 0) is None and store.delete("hot")


def test_alone_what_was_written_last_is_there(standing_alone: Alone) -> None:
    """Also when all others were read before."""
    store, tier = standing_alone(max_entries=100)
    for step in range(20):
        store.set_many({f"k{number}": number for number in range(100)})
        for number in range(100):
            store.get(f"k{number}")
        store.set(f"new {step}", step)
        assert store.delete(f"new {step}")
        agree(store, tier)


def test_alone_a_copy_does_not_drive_out_what_it_is_of(standing_alone: Alone) -> None:
    store, tier = standing_alone(max_bytes=20_000)
    store.set("k", "v" * 15_000)
    assert store.get("k") == "v" * 15_000 and store.delete("k")
    for number in range(20):
        store.set(f"k{number}", "v" * 7_000)
        assert f"k{number}" in list(store.keys())
        agree(store, tier)


@pytest.mark.parametrize("seed", range(5))
def test_alone_record_and_copies_agree_whatever_is_done(standing_alone: Alone, seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    store, tier = standing_alone(max_entries=30, max_bytes=30_000)
    spaces = [store, store.namespace("other")]
    for _ in range(3_000):
        space, key = rng.choice(spaces), f"k{rng.randrange(60)}"
        match rng.randrange(6):
            case 0 | 1:
                space.set(key, "v" * rng.randrange(3_000))
            case 2 | 3:
                held = key in tier.partition(f"record:{space._core.space.name}").slots
                assert (space.get(key) is not None) == held
            case 4:
                held = key in tier.partition(f"record:{space._core.space.name}").slots
                assert space.delete(key) == held
            case _:
                space.set_many({f"k{rng.randrange(60)}": 1 for _ in range(5)})
        for name in ("default", "other"):
            assert tier.partition(name).slots.keys() <= tier.partition(f"record:{name}").slots.keys()
    assert tier.entries <= 30 and tier.bytes <= 30_000
