"""The threads that refresh: bounded, one at a time per subject, and replaced when they are needed again."""

from __future__ import annotations

import threading
import time

import pytest

from tests.clocks import HandClock
from tests.waiting import LIMIT, eventually
from tiered import refreshing
from tiered.refreshing import REST, Refresher


def test_each_subject_once_at_a_time_and_no_more_threads_than_allowed() -> None:
    refresher, go, ran = Refresher(HandClock().monotonic, workers=2, limit=3), threading.Event(), list[int]()

    def job(n: int) -> None:
        go.wait(LIMIT)
        ran.append(n)

    for n in range(2):
        for _ in range(3):
            assert refresher.submit(n, lambda n=n: job(n))
    eventually(lambda: not refresher._queue)
    assert [refresher.submit(n, lambda n=n: job(n)) for n in range(2, 7)] == [True] * 3 + [False] * 2
    assert len(refresher._threads) == 2
    go.set()
    eventually(lambda: len(ran) == 5)
    assert sorted(ran) == [0, 1, 2, 3, 4]
    refresher.close()


def test_after_a_failure_a_subject_rests(caplog: pytest.LogCaptureFixture) -> None:
    clock, ran = HandClock(), list[int]()
    refresher = Refresher(clock.monotonic)

    def fails() -> None:
        ran.append(1)
        raise OSError("down")

    for _ in range(5):
        assert refresher.submit("the key k", fails)
        eventually(lambda: not refresher._pending)
    assert len(ran) == 1 and "a refresh of the key k in the background failed" in caplog.text
    clock.advance(REST)
    refresher.submit("the key k", lambda: ran.append(2))
    eventually(lambda: ran == [1, 2])
    refresher.close()


def test_an_idle_thread_ends_and_another_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refreshing, "IDLE", 0.01)
    refresher, done = Refresher(HandClock().monotonic), list[int]()
    for n in range(3):
        refresher.submit("k", lambda: done.append(1))
        eventually(lambda n=n: len(done) == n + 1 and not refresher._pending and not refresher._threads)
    refresher.close()


def test_close_drops_what_waits_and_takes_nothing_more() -> None:
    refresher, go, running, ran = Refresher(HandClock().monotonic, workers=1), threading.Event(), threading.Event(), []

    def first() -> None:
        running.set()
        go.wait(LIMIT)

    refresher.submit("a", first)
    assert running.wait(LIMIT)
    refresher.submit("b", lambda: ran.append("b"))
    closing = threading.Thread(target=refresher.close)
    closing.start()
    eventually(lambda: refresher.closed)
    go.set()
    closing.join(LIMIT)
    refresher.submit("c", lambda: ran.append("c"))
    assert not ran and not refresher._threads


def test_close_waits_once_for_all_that_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refreshing, "FAREWELL", 1.0)
    refresher, go = Refresher(HandClock().monotonic, workers=20), threading.Event()
    for n in range(20):
        refresher.submit(n, lambda: go.wait(LIMIT))
    eventually(lambda: not refresher._queue)
    began = time.monotonic()
    refresher.close()
    waited = time.monotonic() - began
    go.set()
    assert waited < 10 * refreshing.FAREWELL  # one after the other: 20 times
    eventually(lambda: not refresher._threads)
