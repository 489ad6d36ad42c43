"""Debts: what a cache tier is owed."""

from __future__ import annotations

import pytest

from tiered.entry import MAX_VERSION
from tiered.replication.owed import Owed


def owed(*versions: int, limit: int = 100) -> Owed:
    it = Owed(limit)
    for version in versions:
        it.add("n", [("k", version)])
    return it


def test_a_debt_is_paid_by_its_version_or_a_newer_one_only() -> None:
    for paid, left in ((4, True), (5, False), (6, False)):
        it = owed(5)
        it.paid("n", [("k", paid)])
        assert (("n", "k") in it) is left and bool(it) is left


def test_a_doubt_is_paid_by_no_version() -> None:
    it = owed(MAX_VERSION)
    it.paid("n", [("k", 2**62)])
    assert ("n", "k") in it


@pytest.mark.parametrize(("first", "then"), [(5, 6), (5, MAX_VERSION), (MAX_VERSION, 6), (MAX_VERSION, MAX_VERSION)])
def test_settling_an_old_sight_of_a_debt_leaves_what_it_grew_by(first: int, then: int) -> None:
    """R12 (r12_doubt): a debt of unknown version does not hide a known one, nor another doubt."""
    it = owed(first)
    seen = it.debts()
    it.add("n", [("k", then)])
    for debt in seen:
        it.settle(debt)
    assert ("n", "k") in it
    for debt in it.debts():
        it.settle(debt)
    assert not it


def test_meeting_a_known_debt_again_does_not_keep_it_from_being_settled() -> None:
    """Readers pass a tier all the time while it is owed."""
    it = owed(5)
    seen = it.debts()
    it.add("n", [("k", 5), ("k", 4)])
    for debt in seen:
        it.settle(debt)
    assert not it


def test_debts_are_told_apart_by_when_they_began() -> None:
    """Not by when they grew: one that grows all the time is to be paid, too."""
    it = owed(5)
    ticket = it.ticket
    it.add("n", [("young", 6)])
    assert [debt.key for debt in it.debts(ticket)] == ["k"] and len(it.debts()) == len(it) == 2
    it.add("n", [("k", 7), ("k", MAX_VERSION)])
    assert [debt.key for debt in it.debts(ticket)] == ["k"]
    it.settle(it.debts(ticket)[0])
    it.add("n", [("k", 8)])
    assert it.debts(ticket) == []


def test_uncountable_debts_owe_everything_until_they_are_counted_again() -> None:
    it = owed(limit=10)
    it.add("n", [(f"k{n}", n + 1) for n in range(11)])
    assert it.lost and ("n", "never seen") in it and len(it) == 10
    it.recount()
    assert ("n", "never seen") not in it and ("n", "k1") in it
    for debt in it.debts():
        it.settle(debt)
    assert not it


def test_a_child_after_a_fork_owes_nothing() -> None:
    it = owed(5)
    it.forget()
    assert not it and it.debts() == []
