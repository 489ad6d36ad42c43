"""What is under way: events, floors, the horizon, leaders."""

from __future__ import annotations

from tiered.entry import MAX_VERSION
from tiered.replication.inflight import FLOORS, Flight, InFlightTable


def test_nothing_is_known_of_a_key_that_met_no_event() -> None:
    table = InFlightTable()
    table.reach("other", 9)
    assert table.floor("k", 0) == 0


def test_an_event_is_a_floor_for_what_began_before_it_only() -> None:
    table = InFlightTable()
    began = table.events
    table.reach("k", 7)
    assert table.floor("k", began) == 7
    assert table.floor("k", table.events) == 0


def test_a_floor_never_falls() -> None:
    """An old read that ends late must not make room for another old one."""
    table = InFlightTable()
    began = table.events
    table.reach("k", 9)
    table.reach("k", 5)
    assert table.floor("k", began) == 9


def test_an_event_of_a_version_that_is_not_known_is_still_an_event() -> None:
    """What a read found may be absent since nobody knows when; whoever joins later must still read for himself."""
    table = InFlightTable()
    began = table.events
    table.leaders["k"] = Flight(0.0)
    table.reach("k", 0)
    assert table.events > began and table.leaders == {}


def test_every_event_on_a_key_removes_its_leader_and_no_other() -> None:
    table = InFlightTable()
    table.leaders |= {"k": Flight(0.0), "other": Flight(0.0)}
    table.reach("k", 1)
    assert list(table.leaders) == ["other"]


def test_emptying_memory_keeps_all_that_is_under_way_out() -> None:
    table = InFlightTable()
    began = table.events
    table.leaders["k"] = Flight(0.0)
    table.renew()
    assert table.floor("k", began) > MAX_VERSION and table.floor("never seen", began) > MAX_VERSION
    assert table.leaders == {}
    assert table.floor("k", table.events) == 0


def test_floors_are_bounded_and_forgetting_them_lets_nothing_old_in() -> None:
    table = InFlightTable()
    began = table.events
    table.reach("first", 3)
    for n in range(2 * FLOORS):
        table.reach(f"k{n}", 5)
        assert len(table._floors) <= FLOORS
    assert table.floor("first", began) > 3
    assert table.floor("not reached", began) > MAX_VERSION
    late = table.events
    table.reach("k1", 6)
    assert table.floor("k1", late) == 6 and table.floor("k2", late) == 0


def test_a_known_key_takes_no_further_place() -> None:
    table = InFlightTable()
    for n in range(FLOORS):
        table.reach(f"k{n}", 1)
    began = table.events
    for version in range(2, 10):
        table.reach("k0", version)
    assert len(table._floors) == FLOORS and table.floor("k0", began) == 9 and table.floor("k1", began) == 0
