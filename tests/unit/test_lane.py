"""A lane loses no job, whoever comes and goes; and operations as steps leave nothing half done."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.waiting import LIMIT, eventually, started
from tiered import lane
from tiered.lane import WORKERS, Lane
from tiered.steps import Compute, Steps, drive


class Work:
    """What a lane does: it notes the batches, each begun only when `go` allows it."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()

    def __call__(self, jobs: list[int]) -> None:
        self.batches.append(jobs)
        assert self.go.wait(LIMIT)

    @property
    def done(self) -> list[int]:
        return sorted(job for batch in self.batches for job in batch)


@pytest.fixture
def work() -> Iterator[Work]:
    work = Work()
    yield work
    work.go.set()


def threads(name: str) -> int:
    return sum(it.name == name for it in threading.enumerate())


def test_what_waits_at_the_same_moment_is_one_batch_up_to_the_limit(work: Work) -> None:
    it = Lane(work, name="batches", most=10, patience=LIMIT)
    it.submit(0)
    eventually(lambda: work.batches)
    for n in range(1, 26):
        it.submit(n)
    work.go.set()
    eventually(lambda: len(work.done) == 26)
    assert [len(batch) for batch in work.batches] == [1, 10, 10, 5] and threads("batches") == 1
    it.close()
    eventually(lambda: not threads("batches"))


def test_what_is_withdrawn_before_it_was_begun_is_not_done(work: Work) -> None:
    it = Lane(work, name="withdrawn", most=10, patience=LIMIT)
    begun = it.submit(0)
    eventually(lambda: work.batches)
    places = [it.submit(n) for n in range(1, 6)]
    for place in (begun, places[1], places[3], places[3]):
        it.withdraw(place)
    work.go.set()
    eventually(lambda: len(work.batches) == 2)
    assert work.batches == [[0], [1, 3, 5]]
    it.close()


def test_one_thread_after_another_is_started_while_batches_hang(work: Work) -> None:
    now = 0.0
    it = Lane(work, name="hanging", most=10, patience=1.0, clock=lambda: now)
    for n in range(2 * WORKERS):
        it.submit(n)
        begun = min(n + 1, WORKERS)
        eventually(lambda begun=begun: len(work.batches) == begun)  # type: ignore[misc]
        it.submit(100 + n)  # within its patience: nobody new
        assert threads("hanging") == begun
        now += 1.5
    work.go.set()
    eventually(lambda: len(work.done) == 4 * WORKERS)
    it.close()


class HandTimer:
    """What was to be called later, and is when the test says so."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], object]] = []

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> object:
        self.calls.append(lambda: callback(*args))
        return None

    def fire(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


def test_what_came_just_after_one_that_hangs_waits_no_longer_than_the_patience_with_it(work: Work) -> None:
    now, timer = 0.0, HandTimer()
    it = Lane(work, name="behind", most=10, patience=1.0, clock=lambda: now)
    it.submit(0, timer)
    eventually(lambda: work.batches)
    for n in range(1, 12):
        it.submit(n, timer)
    for begun in (2, 3):
        assert len(timer.calls) == 1
        timer.fire()
        assert threads("behind") == begun - 1  # it is not over yet
        now += 1.5
        timer.fire()
        eventually(lambda begun=begun: len(work.batches) == begun)  # type: ignore[misc]
    assert work.batches[1:] == [list(range(1, 11)), [11]]
    timer.fire()
    assert not timer.calls, "nothing waits: nobody looks"
    work.go.set()
    it.close()


@pytest.mark.parametrize("ends", [0, 1])
def test_each_loop_looks_after_its_own_since_the_other_may_end(ends: int, work: Work) -> None:
    now, timers = 0.0, [HandTimer(), HandTimer()]
    it = Lane(work, name=f"loop {ends} ends", most=10, patience=1.0, clock=lambda: now)
    it.submit(0, timers[0])
    eventually(lambda: work.batches)
    for timer in timers:
        it.submit(1, timer)
    now += 1.5
    timers[1 - ends].fire()
    eventually(lambda: len(work.batches) == 2)
    work.go.set()
    it.close()


def test_looks_do_not_grow_in_number_while_two_loops_submit(work: Work) -> None:
    timers = [HandTimer(), HandTimer()]
    it = Lane(work, name="looks", most=10, patience=LIMIT)
    it.submit(0, timers[0])
    eventually(lambda: work.batches)
    for turn in range(20):
        it.submit(turn, timers[turn % 2])
    for _ in range(3):
        for timer in timers:
            timer.fire()
    assert sum(len(timer.calls) for timer in timers) == 1
    work.go.set()
    it.close()


def test_single_jobs_go_side_by_side(work: Work) -> None:
    it = Lane(work, name="single")
    for n in range(WORKERS + 2):
        it.submit(n)
    eventually(lambda: len(work.batches) == WORKERS)
    work.go.set()
    eventually(lambda: work.done == list(range(WORKERS + 2)))
    it.close()
    eventually(lambda: not threads("single"))


@pytest.mark.parametrize("most", [1, 10])
def test_no_job_is_lost_while_threads_come_and_go(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(lane, "IDLE", 0.0005)
    work = Work()
    work.go.set()
    it = Lane(work, name="coming", most=most, patience=0.001)

    def submit(start: int) -> None:
        chance = random.Random(start)
        for n in range(start, start + 400):
            it.submit(n)
            if chance.random() < 0.1:
                time.sleep(0.0005)  # about as long as a thread stays

    for submitter in [started(lambda start=start: submit(start)) for start in range(0, 2400, 400)]:  # type: ignore[misc]
        submitter.result(LIMIT)
    eventually(lambda: len(work.done) == 2400)
    assert work.done == list(range(2400))
    it.close()
    # Not before: CPython's SimpleQueue may overlook the end of a wait that another getter disturbed, until the next put.
    eventually(lambda: not threads("coming"), "that its threads end")


def test_an_idle_thread_ends_and_another_comes_with_the_next_job(monkeypatch: pytest.MonkeyPatch, work: Work) -> None:
    monkeypatch.setattr(lane, "IDLE", 0.01)
    work.go.set()
    it = Lane(work, name="idle", most=10)
    for n in range(3):
        it.submit(n)
        eventually(lambda n=n: work.done == list(range(n + 1)))  # type: ignore[misc]
        eventually(lambda: not threads("idle"), "that an idle thread ends")
    it.close()


def test_no_job_is_lost_when_it_is_closed_meanwhile() -> None:
    for turn in range(50):
        work = Work()
        work.go.set()
        it = Lane(work, name=f"closing {turn}", most=10, patience=1.0)
        submitter = started(lambda it=it: [it.submit(n) for n in range(50)])  # type: ignore[misc]
        it.close()
        submitter.result(LIMIT)
        eventually(lambda work=work: len(work.done) == 50)  # type: ignore[misc]


def test_without_a_thread_to_be_had_the_caller_does_it(monkeypatch: pytest.MonkeyPatch, work: Work) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    work.go.set()
    it = Lane(work, name="refused", most=10)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        it.submit(1)
        assert work.done == [1]
    it.submit(2)
    eventually(lambda: work.done == [1, 2])
    it.close()


# Steps


def operation(noted: list[str], call: Any) -> Steps[Any]:
    try:
        value = yield Compute(call)
        noted.append("returned")
        return value
    except ValueError:
        noted.append("caught")
        return "instead"
    finally:
        noted.append("ended")


def test_an_operation_gets_results_and_errors_of_its_steps() -> None:
    noted: list[str] = []
    assert drive(operation(noted, lambda: 1)) == 1
    assert drive(operation(noted, lambda: int("x"))) == "instead"
    with pytest.raises(ZeroDivisionError):
        drive(operation(noted, lambda: 1 // 0))
    with pytest.raises(KeyboardInterrupt):
        drive(operation(noted, lambda: (_ for _ in ()).throw(KeyboardInterrupt())))
    assert noted == ["returned", "ended", "caught", "ended", "ended", "ended"]
