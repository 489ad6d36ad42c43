"""Group commit: the queue of writers, and batches in one transaction."""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.file_tier import frame, open_tier, put
from tiered.errors import NotApplied
from tiered.tiers.combine import Combiner, Job
from tiered.tiers.file import FileTier


@pytest.fixture
def tier(tmp_path: Path) -> Iterator[FileTier]:
    with closing(open_tier(tmp_path / "store")) as it:
        yield it


def test_concurrent_writers_all_get_versions_of_their_own(tier: FileTier) -> None:
    versions: list[int] = []
    threads = [
        threading.Thread(target=lambda n=n: versions.extend(put(tier, f"k{n}") for _ in range(20))) for n in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(versions)) == 320
    assert all(tier.read("n", f"k{n}")[1] for n in range(16))


def test_a_failing_write_does_not_fail_the_others_in_its_batch(tier: FileTier) -> None:
    jobs = [Job(lambda s: s.put("s", [("a", frame("a", 1))])), Job(lambda s: 1 // 0), Job(lambda s: "fine")]
    tier._writer._transact(jobs)
    assert jobs[0].result == [True] and jobs[0].error is None
    assert isinstance(jobs[1].error, ZeroDivisionError)
    assert jobs[2].result == "fine" and jobs[2].error is None
    assert tier.get("s", "a") == frame("a", 1)


def test_an_interrupted_leader_never_reports_success_to_its_followers(tier: FileTier) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    jobs = [Job(lambda s: s.put("s", [("a", frame("a", 1))])), Job(interrupt)]
    with pytest.raises(KeyboardInterrupt):
        tier._writer._transact(jobs)
    assert isinstance(jobs[0].error, NotApplied)
    assert tier.get("s", "a") is None
    assert put(tier, "k") > 0


class Interrupted(BaseException):
    """What a signal handler raises."""


def test_signals_anywhere_in_the_main_thread_leave_nobody_waiting() -> None:
    def settle(batch: list[Job]) -> None:
        for job in batch:
            assert job.work is not None
            job.result, job.settled = job.work(None), True

    def run(batch: list[Job]) -> None:
        try:
            time.sleep(0)  # lets the others come and go
            settle(batch)
        except Interrupted:
            settle(batch)
            raise

    def interrupt(*_: object) -> None:
        nonlocal armed
        if armed:
            armed = False
            raise Interrupted

    def work(number: int) -> None:
        while not stop.is_set():
            try:
                if combiner.submit(lambda _: number) != number:
                    wrong.append(number)
            except NotApplied:
                continue

    combiner, stop, armed, wrong, interrupted = Combiner(run), threading.Event(), False, list[int](), 0
    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    gc.collect()
    gc.disable()  # what is raised in a finalizer goes nowhere
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for n in range(3000):
            signal.setitimer(signal.ITIMER_REAL, 1e-6 * (1 + n % 97))
            try:
                armed = True
                combiner.submit(lambda _: None)
                armed = False
            except Interrupted:
                interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()
    combiner.pause()
    combiner.resume()
    stop.set()
    for thread in threads:
        thread.join(20)
    assert interrupted > 0 and wrong == []
    assert not any(thread.is_alive() for thread in threads), "a thread waits for ever"
    assert combiner.submit(lambda _: "still there") == "still there"


def test_a_pause_gets_its_turn_between_batches(tier: FileTier) -> None:
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            put(tier, "k")

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        tier._writer._combiner.pause()
        before = tier.read("n", "k")
        assert tier.read("n", "k") == before
        tier._writer._combiner.resume()
    stop.set()
    for thread in threads:
        thread.join()
