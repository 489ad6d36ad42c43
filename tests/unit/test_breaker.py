"""The breaker: when it opens, who may probe, and that time alone never closes it."""

from __future__ import annotations

from tests.clocks import HandClock
from tiered.replication.breaker import Breaker, State


def breaker(clock: HandClock) -> Breaker:
    return Breaker(clock=clock, jitter=lambda: 1.0)


def test_opens_after_five_failures_in_a_row() -> None:
    it = breaker(HandClock())
    assert [it.failure() for _ in range(5)] == [False, False, False, False, True]
    assert it.state is State.OPEN and not it.closed


def test_a_success_starts_the_row_again() -> None:
    it = breaker(HandClock())
    for _ in range(4):
        it.failure()
    it.success()
    assert not it.failure()


def test_opens_when_half_of_twenty_calls_failed() -> None:
    it = breaker(HandClock())
    for _ in range(9):
        assert not it.failure()
        it.success()
    assert not it.failure()
    it.success()
    assert it.failure()


def test_failures_long_ago_do_not_count() -> None:
    clock = HandClock()
    it = breaker(clock)
    for _ in range(9):
        it.failure()
        it.success()
    clock.advance(11)
    it.failure()
    it.success()
    assert it.closed


def test_time_alone_never_closes_it_and_one_probe_runs_at_a_time() -> None:
    clock = HandClock()
    it = breaker(clock)
    it.trip()
    clock.advance(0.9)
    assert not it.probe_due()
    clock.advance(0.2)
    assert it.probe_due()
    assert not it.probe_due()
    assert it.state is State.HALF_OPEN and not it.closed
    it.close()
    assert it.closed


def test_probes_back_off_to_two_seconds() -> None:
    clock = HandClock()
    it = breaker(clock)
    it.trip()
    waits = []
    for _ in range(8):
        waited = 0
        while not it.probe_due():
            clock.advance(0.5)
            waited += 1
        waits.append(waited / 2)
        it.probe_failed()
    assert waits == [1, 2, 2, 2, 2, 2, 2, 2]
