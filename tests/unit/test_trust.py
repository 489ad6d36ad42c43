"""How long what is held may be believed: each moment counts from the start of what proved it (R7, R11)."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiered.replication.trust import Trust

MOMENTS = st.integers(200, 240).map(lambda tenths: tenths / 10)


def test_nothing_is_believed_before_the_first_look() -> None:
    trust = Trust(1.5)
    assert not trust.caches(0.0)
    assert trust.cache_until(100.0) <= 100.0 and trust.memory_until(100.0) <= 100.0


def test_an_entry_of_the_record_is_as_new_as_its_read() -> None:
    assert Trust(1.5).record_until(100.0) == 101.5


def test_the_first_look_settles_all_and_later_ones_what_the_look_before_saw() -> None:
    trust = Trust(1.5)
    trust.look(100.0)
    assert (trust.settled, trust.looked) == (100.0, 100.0)
    trust.look(101.0)
    assert (trust.settled, trust.looked) == (100.0, 101.0)
    trust.look(102.0)
    assert (trust.settled, trust.looked) == (101.0, 102.0)


def test_an_entry_of_a_cache_is_as_new_as_what_was_settled() -> None:
    """A write of after that may be missing there, and nobody here knows."""
    trust = Trust(1.5)
    trust.look(100.0)
    trust.look(100.4)
    assert trust.cache_until(100.5) == 101.5
    assert trust.cache_until(99.0) == 100.5  # the read itself began before
    assert trust.caches(101.4) and not trust.caches(101.5)


@pytest.mark.parametrize("staleness", [1.5, math.inf])
@given(looks=st.lists(MOMENTS, max_size=3).map(sorted), started=MOMENTS, passed_at=MOMENTS | st.just(-math.inf))
def test_a_read_begins_with_all_three_in_one(
    staleness: float, looks: list[float], started: float, passed_at: float
) -> None:
    trust = Trust(staleness)
    for moment in looks:
        trust.look(moment)
    may = trust.caches(started) and trust.proven(passed_at)
    assert trust.first_until(started, passed_at) == (trust.cache_until(started) if may else 0.0)


def test_memory_lives_on_while_both_looks_and_messages_prove_it() -> None:
    trust = Trust(1.5)
    trust.look(100.0)
    assert trust.memory_until(99.0) <= 99.0  # no message has ever been heard
    trust.heard = 100.2
    assert trust.memory_until(99.0) == 101.5  # the look is the older proof
    trust.look(101.0)
    assert trust.memory_until(99.0) == 101.7  # the heartbeat is
    trust.heard = -math.inf
    assert trust.memory_until(99.0) <= 99.0


def test_a_look_proves_nothing_of_memory_while_writes_may_leave_no_marks() -> None:
    trust = Trust(1.5)
    trust.look(100.0)
    trust.heard = 102.0
    trust.look(101.0, adopted=False)
    assert trust.memory_until(99.0) == 101.5
    assert trust.caches(101.4) and trust.cache_until(101.0) == 101.5
    trust.look(102.0)
    assert trust.memory_until(99.0) == 103.5


def test_an_entry_that_came_after_the_last_proof_is_not_prolonged_by_it() -> None:
    trust = Trust(1.5)
    trust.look(100.0)
    trust.heard = 100.0
    assert trust.memory_until(100.0) == 101.5
    assert trust.memory_until(100.1) == 100.1


def test_no_clock_has_to_tick_for_trust_to_run_out() -> None:
    """The looking and the listening thread may be stopped for as long as they like."""
    trust = Trust(1.5)
    trust.look(100.0)
    trust.heard = 100.0
    assert trust.memory_until(100.0) < 102.0 and trust.cache_until(100.0) < 102.0 and not trust.caches(102.0)


def test_alone_everything_is_believed_for_ever() -> None:
    trust = Trust(math.inf)
    assert trust.caches(0.0)
    assert trust.cache_until(5.0) == trust.record_until(5.0) == math.inf


def test_a_child_after_a_fork_has_proven_nothing() -> None:
    trust = Trust(1.5)
    trust.look(100.0)
    trust.heard = 100.0
    trust.forget()
    assert not trust.caches(100.0) and trust.memory_until(100.0) <= 100.0
