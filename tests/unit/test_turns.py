"""Turns at a key: in order, one after the other, and over when somebody does not get on."""

from __future__ import annotations

import pytest

from tests.waiting import LIMIT, eventually, started
from tiered import turns
from tiered.entry import draft
from tiered.steps import drive
from tiered.tiers.base import Given
from tiered.turns import Base, Line, Turn, Turns


def take(it: Turns, turn: Turn) -> None:
    drive(it.wait("k", turn))


def test_they_come_in_order() -> None:
    it, first, order = Turns(), Turn(), list[int]()
    take(it, first)
    waiting = []
    for number in range(5):
        turn = Turn()

        def work(turn: Turn = turn, number: int = number) -> None:
            take(it, turn)
            order.append(number)
            it.leave("k", turn)

        waiting.append(started(work))
        eventually(lambda number=number: len(it._queues["k"].turns) == number + 2, "its place in the queue")
    assert order == []
    it.leave("k", first)
    for future in waiting:
        future.result(LIMIT)
    assert order == [0, 1, 2, 3, 4]
    assert not it._queues


def test_one_who_goes_away_while_waiting_keeps_nobody() -> None:
    it, first, gone, last = Turns(), Turn(), Turn(), Turn()
    take(it, first)
    steps = it.wait("k", gone)
    next(steps)
    waiting = started(lambda: take(it, last))
    eventually(lambda: len(it._queues["k"].turns) == 3, "three in the queue")
    steps.close()
    it.leave("k", gone)
    it.leave("k", gone)
    assert not waiting.done()
    it.leave("k", first)
    waiting.result(LIMIT)


def test_nobody_waits_when_one_does_not_get_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would wait for each of those before them as long as for the first: with twenty, for twenty glances."""
    it, hung, behind = Turns(), Turn(), [Turn() for _ in range(20)]
    take(it, hung)
    waiting = [started(lambda turn=turn: take(it, turn)) for turn in behind]
    eventually(lambda: len(it._queues["k"].turns) == 21, "all of them in the queue")
    monkeypatch.setattr(turns, "GLANCE", LIMIT)  # for whoever looks again: one look was to do
    for future in waiting:
        future.result(LIMIT / 2)
    assert not it._queues
    later = Turn()
    take(it, later)
    for turn in (hung, *behind):
        it.leave("k", turn)  # too late, and no harm
    assert list(it._queues["k"].turns) == [later]
    it.leave("k", later)
    assert not it._queues


def base() -> Base:
    return Base(draft(0, "k", b"payload", 1), Given(), Line())


def test_who_passes_on_keeps_nobody_and_what_it_passed_on_is_there_until_it_leaves() -> None:
    it, first, second, third, fourth, passed = Turns(), Turn(), Turn(), Turn(), Turn(), base()
    take(it, first)
    waiting = started(lambda: take(it, second))
    eventually(lambda: len(it._queues["k"].turns) == 2, "its place in the queue")
    it.pass_on("k", first, passed)
    waiting.result(LIMIT)
    assert first.passed and second.base is passed and first.base is None
    it.leave("k", second)  # it drafted nothing
    take(it, third)
    assert third.base is passed
    it.leave("k", third)
    it.leave("k", first)
    assert not it._queues
    take(it, fourth)
    assert fourth.base is None
    it.leave("k", fourth)


def test_who_leaves_takes_nothing_of_what_another_passed_on_after_it() -> None:
    it, first, second, third, later = Turns(), Turn(), Turn(), Turn(), base()
    take(it, first)
    it.pass_on("k", first, base())
    take(it, second)
    it.pass_on("k", second, later)
    it.leave("k", first)
    take(it, third)
    assert third.base is later


def test_nothing_is_passed_on_in_a_queue_that_is_over() -> None:
    it, late, other = Turns(), Turn(), Turn()
    take(it, late)
    it._dissolve("k")
    take(it, other)
    it.pass_on("k", late, base())
    assert not late.passed and list(it._queues["k"].turns) == [other]
    it.leave("k", late)
    it.leave("k", other)
    assert not it._queues
