"""What a guard lets its tier say of owed keys when nobody else can be asked."""

from __future__ import annotations

import pytest

from tiered.chain import Space
from tiered.codecs.rules import PLAIN
from tiered.entry import MAX_VERSION
from tiered.replication.guard import OWED, UNANSWERED, Guard
from tiered.testing.contract import value
from tiered.tiers.memory import MemoryTier


@pytest.fixture
def space() -> Space:
    space = Space("n", MemoryTier(), PLAIN)
    space.enter(1)
    return space


@pytest.fixture
def guard(space: Space) -> Guard:
    """Its tier has version 5 of "k"."""
    guard = Guard(MemoryTier(name="cache"))
    guard.tier.put_many(space.scope, [("k", value("k").seal(5))])
    return guard


def test_an_owed_key_is_answered_if_the_tier_has_what_is_owed(guard: Guard, space: Space) -> None:
    held = value("k").seal(5)
    assert guard.get_paid(space, ["k", "absent"]) == [held, None]
    for owed, answer in ((4, held), (5, held), (6, UNANSWERED)):
        guard.owe("n", "k", owed)
        assert guard.get_many(space, ["k"]) == [OWED]
        assert guard.get_paid(space, ["k"]) == [answer]
    guard.owe("n", "absent", 1)
    assert guard.get_paid(space, ["absent"]) == [UNANSWERED], "a miss is not what is owed"


def test_nothing_pays_a_debt_that_nobody_knows(guard: Guard, space: Space) -> None:
    guard.owe("n", "k", MAX_VERSION)
    assert guard.get_paid(space, ["k"]) == [UNANSWERED]
    assert guard.get_paid(space, ["other"]) == [None]
    guard.owed.lost = True
    assert guard.get_paid(space, ["other"]) == [UNANSWERED]


def test_a_tier_out_of_service_is_not_asked(guard: Guard, space: Space) -> None:
    guard.breaker.trip()
    assert guard.get_paid(space, ["k"]) == [UNANSWERED]
