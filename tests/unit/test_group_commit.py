"""Group commit: the queue of writers, and batches in one transaction."""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.file_tier import NOW, files, open_tier, put, value
from tests.waiting import LIMIT, eventually, started
from tiered import MemoryTier, TieredBackend
from tiered.errors import NotApplied, Reason, TieredError
from tiered.tiers.base import Write
from tiered.tiers.combine import Combiner, Job
from tiered.tiers.file import FileTier
from tiered.tiers.sqlite import Error


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
    jobs = [
        Job(lambda s: s.commit("n", [Write("a", value("a"))], (), NOW)),
        Job(lambda s: 1 // 0),
        Job(lambda s: "fine"),
    ]
    tier._writer._transact(jobs)
    assert jobs[0].result.written[0].version and jobs[0].error is None
    assert isinstance(jobs[1].error, ZeroDivisionError)
    assert jobs[2].result == "fine" and jobs[2].error is None
    assert tier.read("n", "a")[1] is not None


def test_an_interrupted_leader_never_reports_success_to_its_followers(tier: FileTier) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    jobs = [Job(lambda s: s.commit("n", [Write("a", value("a"))], (), NOW)), Job(interrupt)]
    with pytest.raises(KeyboardInterrupt):
        tier._writer._transact(jobs)
    assert isinstance(jobs[0].error, NotApplied)
    assert tier.read("n", "a")[1] is None
    assert put(tier, "k") > 0


class Interrupted(BaseException):
    """What a signal handler raises."""


def test_an_interrupt_in_a_batch_that_was_split_is_about_those_it_kept_from_being_begun(tier: FileTier) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    jobs = [Job(lambda s: "fine"), Job(lambda s: 1 // 0), Job(interrupt), Job(lambda s: begun.append(1))]
    begun = list[int]()
    with pytest.raises(KeyboardInterrupt):
        tier._writer._transact_each(jobs)
    assert jobs[0].settled and jobs[0].result == "fine"
    assert isinstance(jobs[1].error, ZeroDivisionError)
    assert isinstance(jobs[3].error, NotApplied) and not begun


def test_an_interrupt_overwrites_no_error_that_is_known(tier: FileTier) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    jobs = [Job(lambda s: 1 // 0), Job(interrupt)]  # the first one fails, so each is done again by itself
    with pytest.raises(KeyboardInterrupt):
        tier._writer._transact(jobs)
    assert isinstance(jobs[0].error, ZeroDivisionError)


def test_an_error_before_the_commit_is_not_applied(tier: FileTier, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise Error("disk I/O error")

    monkeypatch.setattr("tiered.tiers.file_session.enter", fails)
    with pytest.raises(NotApplied):
        put(tier, "k")
    assert tier.read("n", "k")[1] is None
    monkeypatch.undo()
    assert put(tier, "k") > 0


@pytest.fixture
def handled() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Has what it is given done by a signal handler, from then on."""
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda call: signal.signal(signal.SIGUSR1, lambda *_: call()) and None
    signal.signal(signal.SIGUSR1, before)


def test_a_handler_that_writes_in_the_middle_of_a_write_is_refused(
    tier: FileTier, handled: Callable[[Callable[[], None]], None]
) -> None:
    told = list[NotApplied]()

    def write() -> None:
        with pytest.raises(NotApplied, match="signal handler or finalizer") as caught:
            put(tier, "from the handler")
        told.append(caught.value)

    handled(write)
    tier._writer.write(lambda session: signal.raise_signal(signal.SIGUSR1))
    assert [it.reason for it in told] == [Reason.MISUSE]
    assert tier.read("n", "from the handler")[1] is None and put(tier, "k") > 0


def test_a_handler_that_writes_while_its_thread_waits_for_its_turn_is_refused(
    tier: FileTier, handled: Callable[[Callable[[], None]], None]
) -> None:
    """It would wait behind its own thread, which cannot go on before the handler returns."""
    working, done, told = threading.Event(), threading.Event(), list[NotApplied]()

    def lead(_: object) -> None:
        working.set()
        done.wait(LIMIT)

    def write() -> None:
        try:
            put(tier, "from the handler")
        except NotApplied as error:
            told.append(error)
        done.set()

    handled(write)
    leader = started(lambda: tier._writer.write(lead))
    working.wait(LIMIT)
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        eventually(lambda: tier._writer._combiner._waiting, "the main thread waiting")
        signal.pthread_kill(main, signal.SIGUSR1)

    interrupting = started(interrupt)
    assert put(tier, "k") > 0
    interrupting.result(LIMIT)
    leader.result(LIMIT)
    assert len(told) == 1 and put(tier, "k") > 0


def test_a_handler_may_close_the_store_in_the_middle_of_a_write(
    tmp_path: Path, handled: Callable[[Callable[[], None]], None]
) -> None:
    """SIGTERM comes at any time: what was begun is made, and nothing stays open."""
    gc.collect()
    open_before = files()
    store = TieredBackend([MemoryTier(), record := FileTier(tmp_path / "closed")])
    store.set("k", 1)
    handled(store.close)
    record._writer.write(lambda session: signal.raise_signal(signal.SIGUSR1))
    gc.collect()
    assert files() <= open_before
    with pytest.raises(TieredError, match="closed"):
        store.set("k", 2)
    with TieredBackend([FileTier(tmp_path / "closed")]) as again:
        assert again.get("k") == 1


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
