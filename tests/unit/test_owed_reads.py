"""A read that passes a cache tier because the key is owed, and what becomes of the debt meanwhile (R9)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.by_hand import Process
from tests.clocks import HandClock
from tests.unit.conftest import Start
from tiered import FileTier, MemoryTier, TieredBackend
from tiered.replication.guard import Answer, Keyspace
from tiered.testing.chaos import Faults, FaultyTier

KEYS = ["k", "l"]
READS: dict[str, Callable[[Process], list[str]]] = {
    "get": lambda b: [b.store.get(key) for key in KEYS],
    "get_many": lambda b: list(b.store.get_many(KEYS).values()),
}


@pytest.fixture(params=READS)
def reads(request: pytest.FixtureRequest) -> Callable[[Process], list[str]]:
    return READS[request.param]


@pytest.fixture
def a(start: Start) -> Process:
    a = start()
    a.store.set_many({key: "v1" for key in KEYS})
    a.record.journal.flush()
    return a


@pytest.fixture
def b(start: Start, a: Process) -> Process:
    """Remembers nothing, and is owed what the cache has."""
    b = start(entries=0)
    for key in KEYS:
        b.guard.owe("default", key, a.store.lookup(key).version)
    return b


def before_the_record(b: Process, happens: Callable[[], object]) -> None:
    """What happens after a read of `b` has passed the cache, and before it reaches the record."""
    for name in ("read", "read_many"):
        read = getattr(b.record, name)

        def late(*args: object, read: Callable[..., object] = read) -> object:
            nonlocal happens
            happens, now = (lambda: None), happens
            now()
            return read(*args)

        setattr(b.record, name, late)


def test_a_debt_that_was_paid_meanwhile_is_not_made_again(b: Process, reads: Callable[[Process], list[str]]) -> None:
    """Else a key that is read all the time would stay owed for ever: whenever it is paid, a read is under way."""
    before_the_record(b, lambda: b.look(3))
    assert reads(b) == ["v1", "v1"]
    assert not any(map(b.owes, KEYS))
    assert b.store.lookup("k").tier == "cache"


def test_what_was_written_after_it_was_paid_is_owed_all_the_same(
    a: Process, b: Process, reads: Callable[[Process], list[str]]
) -> None:
    def paid_then_written() -> None:
        b.look(3)
        a.cache.cut_off()
        a.store.set_many({key: "v2" for key in KEYS})

    before_the_record(b, paid_then_written)
    assert reads(b)[0] == "v2"
    assert reads(b)[0] == "v2", "the cache has v1 still"
    assert b.owes("k")


def test_what_cannot_be_asked_for_is_owed(b: Process, reads: Callable[[Process], list[str]]) -> None:
    def paid_then_cut_off() -> None:
        b.look(3)
        assert not any(map(b.owes, KEYS))
        b.cache.cut_off()

    before_the_record(b, paid_then_cut_off)
    assert reads(b) == ["v1", "v1"]
    assert b.owes("k")


def test_a_hot_key_is_served_by_the_cache_again(b: Process, reads: Callable[[Process], list[str]]) -> None:
    """Reads come one after the other, and every look of the keeper falls into one of them."""
    for _ in range(3):
        before_the_record(b, b.look)
        assert reads(b) == ["v1", "v1"]
    assert b.store.lookup("k").tier == "cache"


# Two cache tiers


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Callable[[], Two]]:
    """Builds processes over a directory and two servers that all share."""
    clock, servers = HandClock(), [MemoryTier(name=name) for name in ("c1", "c2")]
    with ExitStack() as stack:
        yield lambda: stack.enter_context(Two(tmp_path / "store", clock, servers))


class Named(FaultyTier):
    """Its server is always the same."""

    def probe(self) -> str:
        super().probe()
        return "run 1"


class Two:
    """One process, which remembers nothing."""

    def __init__(self, directory: Path, clock: HandClock, servers: list[MemoryTier]) -> None:
        self.caches = [Named(server, Faults()) for server in servers]
        tiers = [MemoryTier(max_entries=0, clock=clock), *self.caches, FileTier(directory, sync="normal", clock=clock)]
        self.store = TieredBackend(tiers, clock=clock)
        self.store._core.service.keeper._stop.set()  # `look` is called by hand
        self.guard = self.store._core.chain.guards[0]

    def __enter__(self) -> Two:
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()

    def look(self) -> None:
        self.store._core.service.keeper.look()

    def set_past_the_first(self, value: str) -> None:
        """The first cache cannot be reached meanwhile."""
        self.caches[0].faults = Faults(before=1)
        assert self.store.set("k", value).tiers["c1"] == "queued"
        self.caches[0].faults = Faults()

    def read(self) -> tuple[object, str]:
        found = self.store.lookup("k")
        return found.value, found.tier


@pytest.fixture
def pair(two: Callable[[], Two]) -> tuple[Two, Two]:
    a, b = two(), two()
    a.store.set("k", "v1")
    for it in (a, b):
        assert it.read()[0] == "v1"
        it.look()
    return a, b


def test_what_the_second_cache_had_is_owed_by_the_first_that_failed(pair: tuple[Two, Two]) -> None:
    a, b = pair
    b.set_past_the_first("v2")
    a.caches[0].faults = Faults(before=1)
    assert a.read() == ("v2", "c2")
    a.caches[0].faults = Faults()
    assert a.read() == ("v2", "c2"), "c1 has v1 still"


def test_what_the_second_cache_had_is_owed_by_the_first_whose_debt_was_paid_meanwhile(pair: tuple[Two, Two]) -> None:
    a, b = pair
    a.guard.owe("default", "k", a.store.lookup("k").version)
    second = a.store._core.chain.guards[1]
    get = second.get

    def late(space: Keyspace, key: str) -> Answer:
        second.get = get  # type: ignore[method-assign]  # once
        a.look()
        a.look()
        assert ("default", "k") not in a.guard.owed
        b.set_past_the_first("v2")
        return get(space, key)

    second.get = late  # type: ignore[method-assign]  # a hook
    assert a.read() == ("v2", "c2")
    assert a.read() == ("v2", "c2"), "c1 has v1 still"


# Trust


def test_looks_after_an_answer_lend_it_no_trust(start: Start) -> None:
    """Promise 4: a read that stops between the cache's answer and its end, while two looks pass."""
    a, b = start(), start()
    clock = a.clock
    a.store.set("k", "v1")
    a.look(3)
    b.store.get("x")
    b.look()
    clock.advance(0.35)
    b.look()
    a.cache.cut_off()
    a.store.set("k", "v2")
    acknowledged = clock.monotonic()
    a.cache.reconnect()
    clock.advance(0.05)
    b.look()  # sees the mark for the first time, and owes nothing
    clock.advance(0.39)

    def late() -> None:
        a.store.replay()
        a.record.journal.flush()
        for seconds in (0.01, 0.4):
            clock.advance(seconds)
            b.look()

    b.cache.after_get = late
    assert b.store.get("k") == "v1"
    clock.advance(acknowledged + b.store._core.chain.trust.staleness + 0.01 - clock.monotonic())
    assert b.store.get("k") == "v2"
