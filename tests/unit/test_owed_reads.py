"""A read that passes a cache tier because the key is owed, and what becomes of the debt meanwhile (R9)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.by_hand import Process
from tests.unit.conftest import Start

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
