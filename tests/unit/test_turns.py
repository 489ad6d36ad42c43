"""Turns at a key: in order, one after the other, and over when somebody does not get on."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import LIMIT, eventually, started
from tiered import AsyncTieredBackend, FileTier, MemoryTier, TieredBackend, turns
from tiered.steps import drive
from tiered.turns import Turn, Turns

MANY = 300


def take(it: Turns, turn: Turn) -> None:
    drive(it.wait("k", turn))


def test_they_come_in_order() -> None:
    it, first, order = Turns(), Turn(), list[int]()
    take(it, first)
    assert "k" in it and "another" not in it
    waiting = []
    for number in range(5):
        turn = Turn()

        def work(turn: Turn = turn, number: int = number) -> None:
            take(it, turn)
            order.append(number)
            it.leave("k", turn)

        waiting.append(started(work))
        eventually(lambda number=number: len(it._queues["k"]) == number + 2, "its place in the queue")
    assert order == []
    it.leave("k", first)
    for future in waiting:
        future.result(LIMIT)
    assert order == [0, 1, 2, 3, 4]
    assert "k" not in it


def test_one_who_goes_away_while_waiting_keeps_nobody() -> None:
    it, first, gone, last = Turns(), Turn(), Turn(), Turn()
    take(it, first)
    steps = it.wait("k", gone)
    next(steps)
    waiting = started(lambda: take(it, last))
    eventually(lambda: len(it._queues["k"]) == 3, "three in the queue")
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
    eventually(lambda: len(it._queues["k"]) == 21, "all of them in the queue")
    monkeypatch.setattr(turns, "GLANCE", LIMIT)  # for whoever looks again: one look was to do
    for future in waiting:
        future.result(LIMIT / 2)
    assert "k" not in it
    later = Turn()
    take(it, later)
    for turn in (hung, *behind):
        it.leave("k", turn)  # too late, and no harm
    assert list(it._queues["k"]) == [later]
    it.leave("k", later)
    assert "k" not in it


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with TieredBackend([MemoryTier(), FileTier(tmp_path)]) as it:
        it.set("n", 0)
        yield it


def test_those_who_begin_together_conflict_once_each(store: TieredBackend) -> None:
    """Else each commit would let one of them through and send all others back: the square of their number."""

    async def work() -> None:
        tasks = AsyncTieredBackend.over(store)
        await asyncio.gather(*(tasks.increment("n") for _ in range(MANY)))

    asyncio.run(work())
    assert store.get("n") == MANY
    assert store._core.stats.conflicts < 1.5 * MANY
    assert "n" not in store._core.space.turns


def test_so_it_is_with_threads_and_tasks(store: TieredBackend) -> None:
    ready = threading.Barrier(17)

    def work() -> None:
        ready.wait(LIMIT)
        for _ in range(20):
            store.increment("n")

    async def tasks() -> None:
        await asyncio.gather(*(AsyncTieredBackend.over(store).increment("n") for _ in range(50)))

    threads = [started(work) for _ in range(16)]
    ready.wait(LIMIT)
    asyncio.run(tasks())
    for thread in threads:
        thread.result(LIMIT)
    assert store.get("n") == 16 * 20 + 50
    assert store._core.stats.conflicts < 1.5 * (16 * 20 + 50)
    assert "n" not in store._core.space.turns


def test_cancelled_tasks_leave_their_turn(store: TieredBackend) -> None:
    async def work() -> int:
        tasks = AsyncTieredBackend.over(store)
        calls = [asyncio.create_task(tasks.increment("n")) for _ in range(60)]
        await asyncio.sleep(0)
        while not store._core.stats.conflicts:
            await asyncio.sleep(0.001)
        for call in calls[::2]:
            call.cancel()
        done = await asyncio.gather(*calls, return_exceptions=True)
        return sum(type(it) is int for it in done)

    acknowledged = asyncio.run(work())
    assert 30 <= acknowledged <= store.get("n") <= 60
    assert "n" not in store._core.space.turns


def test_a_function_that_changes_a_key_where_somebody_does_not_get_on_comes_to_an_end(
    store: TieredBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "GLANCE", 0.01)
    turn = Turn()
    take(store._core.space.turns, turn)  # somebody is at n, and never gets on

    def change(value: Any) -> int:
        return int(store.increment("n")) + (value or 0)

    assert store.update("m", change) == 1
    assert store.get("n") == 1
