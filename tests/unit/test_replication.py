"""Debts and operations under way: the bookkeeping that the protocol's rules rest on."""

from __future__ import annotations

from tiered.replication.inflight import Flight, InFlightTable
from tiered.replication.owed import Owed


def test_a_debt_is_paid_by_its_version_or_a_newer_one_only() -> None:
    owed = Owed()
    owed.add("n", "k", 5)
    owed.paid("n", "k", 4)
    assert ("n", "k") in owed
    owed.paid("n", "k", 5)
    assert ("n", "k") not in owed and not owed


def test_settling_an_old_debt_leaves_a_newer_one() -> None:
    owed = Owed()
    owed.add("n", "k", 5)
    seen = owed.some(10)
    owed.add("n", "k", 6)
    for debt in seen:
        owed.settle(*debt)
    assert ("n", "k") in owed


def test_uncountable_debts_owe_everything_until_forgiven() -> None:
    owed = Owed(limit=10)
    for n in range(11):
        owed.add("n", f"k{n}", n + 1)
    assert owed.lost and ("n", "never seen") in owed
    owed.forgive()
    assert not owed and ("n", "k1") not in owed


def test_a_marked_read_is_joined_by_nobody() -> None:
    table = InFlightTable()
    entry = table.begin("k")
    entry.leader = flight = Flight(10.0)
    assert table.join("k", 10.5, 1.0) is flight
    assert table.join("k", 11.5, 1.0) is None
    table.mark("k", 7)
    assert table.join("k", 10.5, 1.0) is None
    assert entry.floor == 7


def test_the_floor_lives_as_long_as_any_operation_on_the_key() -> None:
    table = InFlightTable()
    first, second = table.begin("k"), table.begin("k")
    assert first is second
    table.mark("k", 9)
    table.end("k", first)
    assert table.begin("k").floor == 9
    table.end("k", second)
    table.end("k", second)
    assert len(table) == 0
    assert table.begin("k").floor == 0


def test_emptying_memory_ends_an_epoch_and_marks_every_read() -> None:
    table = InFlightTable()
    table.begin("k").leader = Flight(0.0)
    epoch = table.epoch
    table.mark_all()
    assert table.epoch != epoch
    assert table.join("k", 0.0, 1.0) is None
