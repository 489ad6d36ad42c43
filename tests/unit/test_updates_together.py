"""Updates of one key that begin together: each builds on the one before, they share commits, and none pays for another's failure."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.clocks import HandClock
from tests.waiting import LIMIT, eventually, started
from tiered import AsyncTieredBackend, FileTier, InvalidValue, MemoryTier, NotApplied, TieredBackend, turns
from tiered.errors import Ambiguous, Corrupt, Reason, StoreError
from tiered.steps import drive
from tiered.tiers.base import Commit, Write
from tiered.tiers.file_session import Session
from tiered.turns import Turn

MANY = 300


class Gated(FileTier):
    """Once it is `shut`, each commit waits until it is let through, in order, or is told what to raise."""

    shut = False

    def __init__(self, directory: Path, clock: Any) -> None:
        super().__init__(directory, clock=clock)
        self.waiting: deque[tuple[Future[None], threading.Event]] = deque()

    def commit(self, namespace: str, writes: Sequence[Write], *, marks: Sequence[str] = (), now: int) -> Commit:
        if not self.shut:
            return super().commit(namespace, writes, marks=marks, now=now)
        verdict, over = Future[None](), threading.Event()
        self.waiting.append((verdict, over))
        try:
            verdict.result(LIMIT)
            return super().commit(namespace, writes, marks=marks, now=now)
        finally:
            over.set()

    def let_through(self, count: int = 1, error: StoreError | None = None) -> None:
        for _ in range(count):
            eventually(lambda: self.waiting, "a commit")
            verdict, over = self.waiting.popleft()
            verdict.set_result(None) if error is None else verdict.set_exception(error)
            assert over.wait(LIMIT)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def record(tmp_path: Path, clock: HandClock) -> Gated:
    return Gated(tmp_path, clock)


@pytest.fixture
def store(record: Gated, clock: HandClock) -> Iterator[TieredBackend]:
    with closing(TieredBackend([MemoryTier(clock=clock), record], clock=clock)) as it:
        it.set("n", 0)
        yield it
        assert not it._core.space.turns._queues


@contextmanager
def drafted(record: Gated, work: Callable[[], Any]) -> Iterator[Future[Any]]:
    """While `work` has drafted its write, and waits for its commit."""
    record.shut, before = True, len(record.waiting)
    doing = started(work)
    eventually(lambda: len(record.waiting) == before + 1, "a draft")
    yield doing


def test_one_builds_on_what_the_other_is_about_to_write(store: TieredBackend, record: Gated) -> None:
    with (
        drafted(record, lambda: store.increment("n", 5)) as first,
        drafted(record, lambda: store.increment("n")) as then,
    ):
        assert store.get("n") == 0  # neither is to be seen before it is durable
        record.let_through(2)
        assert (first.result(LIMIT), then.result(LIMIT)) == (5, 6)
    assert store.lookup("n").value == 6 and store._core.stats.conflicts == 0


@pytest.mark.parametrize("error", [NotApplied("a full disk", tier="file"), Ambiguous("a failed fsync", tier="file")])
def test_nobody_fails_for_the_one_before(store: TieredBackend, record: Gated, error: StoreError) -> None:
    seen = list[int]()

    def plus(value: int) -> int:
        seen.append(value)
        return value + 1

    with (
        drafted(record, lambda: store.increment("n", 5)) as first,
        drafted(record, lambda: store.update("n", plus)) as then,
    ):
        record.let_through(error=error)
        with pytest.raises(type(error)):
            first.result(LIMIT)
        record.let_through()  # refused: what it builds on never was
        record.let_through()
        assert then.result(LIMIT) == 1
    assert seen == [5, 0] and store.get("n") == 1 and store._core.stats.conflicts == 1


def test_who_comes_after_a_failure_reads_the_record(store: TieredBackend, record: Gated) -> None:
    """Else it would build on what builds on the failure, and so would the next."""
    with (
        drafted(record, lambda: store.increment("n", 5)) as first,
        drafted(record, lambda: store.increment("n")) as then,
    ):
        record.let_through(error=NotApplied("a full disk", tier="file"))
        with pytest.raises(NotApplied):
            first.result(LIMIT)
        with drafted(record, lambda: store.increment("n", 100)) as last:
            record.waiting.rotate(1)  # the commit of the last one comes first
            record.let_through()
            assert last.result(LIMIT) == 100
        record.let_through(2)
        assert then.result(LIMIT) == 101


@pytest.mark.parametrize("fails", [False, True])
def test_an_error_of_the_function_is_about_what_the_record_has(
    store: TieredBackend, record: Gated, fails: bool
) -> None:
    """`increment` of a text that is about to be written raises only if it is written."""
    with (
        drafted(record, lambda: store.update("n", str)) as first,
        drafted(record, lambda: store.increment("n")) as then,
    ):
        record.let_through(error=NotApplied("a full disk", tier="file") if fails else None)
        if fails:
            with pytest.raises(NotApplied):
                first.result(LIMIT)
        else:
            assert first.result(LIMIT) == "0"
        record.let_through()
        if fails:
            assert then.result(LIMIT) == 1
        else:
            with pytest.raises(InvalidValue, match="a str is there"):
                then.result(LIMIT)
    record.shut = False
    assert store.get("n") == (1 if fails else "0")


def test_what_cannot_be_read_and_is_never_written_is_nobodys_error(
    store: TieredBackend, record: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec, decode = store._core.chain.codec, store._core.chain.codec.decode

    def fails(payload: bytes) -> Any:
        if decode(payload) == 5:
            raise Corrupt("on purpose")
        return decode(payload)

    with drafted(record, lambda: store.increment("n", 5)) as first:
        monkeypatch.setattr(codec, "decode", fails)
        with drafted(record, lambda: store.increment("n")) as then:
            record.let_through(error=NotApplied("a full disk", tier="file"))
            record.let_through()
            assert then.result(LIMIT) == 1
        with pytest.raises(NotApplied):
            first.result(LIMIT)


def test_each_gets_a_copy_of_its_own(store: TieredBackend, record: Gated) -> None:
    def grown(value: Any) -> Any:
        value["lines"].append(len(value["lines"]))
        return value

    def refused(value: Any) -> Any:
        value["lines"].clear()
        raise KeyError("no")

    store.set("d", {"lines": []})
    with drafted(record, lambda: store.update("d", grown)) as first:
        refusal = started(lambda: store.update("d", refused))
        with pytest.raises(KeyError):
            refusal.result(LIMIT)
        with drafted(record, lambda: store.update("d", grown)) as then:
            record.let_through(2)
            assert first.result(LIMIT) == {"lines": [0]}
            assert then.result(LIMIT) == {"lines": [0, 1]}
    assert store.get("d") == {"lines": [0, 1]}


def test_what_expires_before_it_is_written_is_no_base(store: TieredBackend, record: Gated, clock: HandClock) -> None:
    with drafted(record, lambda: store.update("n", lambda n: n + 5, ttl=1)) as first:
        clock.advance(2)
        with drafted(record, lambda: store.increment("n", 10, ttl=60)) as then:
            record.let_through(2)
            assert first.result(LIMIT) == 5
            record.let_through()  # the record had 0 when it was read, and then what has expired
            assert then.result(LIMIT) == 10
    assert store.ttl("n") == pytest.approx(60)


def test_the_expiry_that_was_drafted_is_kept(store: TieredBackend, record: Gated) -> None:
    with (
        drafted(record, lambda: store.increment("window", ttl=60)) as first,
        drafted(record, lambda: store.increment("window", ttl=3600)) as then,
    ):
        record.let_through(2)
        assert (first.result(LIMIT), then.result(LIMIT)) == (1, 2)
    assert store.ttl("window") == pytest.approx(60)


def test_a_set_that_comes_first_is_not_lost(store: TieredBackend, record: Gated) -> None:
    with (
        drafted(record, lambda: store.increment("n", 5)) as first,
        drafted(record, lambda: store.increment("n")) as then,
        drafted(record, lambda: store.set("n", 100)) as between,
    ):
        record.waiting.rotate(1)
        record.let_through()
        between.result(LIMIT)
        record.shut = False
        record.let_through(2)  # refused, both: they read again
        assert first.result(LIMIT) + then.result(LIMIT) in (105 + 106, 101 + 106)
    assert store.get("n") == 106


def test_those_who_begin_together_share_commits(store: TieredBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each would wait for the disk once for each of those before it."""
    commits, begin = list[None](), Session.begin

    def counted(session: Session) -> None:
        commits.append(None)
        begin(session)

    monkeypatch.setattr(Session, "begin", counted)

    async def work() -> list[int]:
        tasks = AsyncTieredBackend.over(store)
        return await asyncio.gather(*(tasks.increment("n") for _ in range(MANY)))

    assert sorted(asyncio.run(work())) == list(range(1, MANY + 1))
    assert store.get("n") == MANY and store._core.stats.conflicts == 0
    assert len(commits) < MANY / 4


def test_threads_and_tasks_that_meet_at_a_key_lose_nothing(store: TieredBackend) -> None:
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


def test_nothing_is_lost_when_commits_fail_at_random(
    store: TieredBackend, record: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each number is handed out once, and the sum is what was acknowledged; also when COMMIT itself fails."""
    seed = 20261130
    print(f"seed {seed}")
    random, end, done, refused = Random(seed), Session.end, list[int](), list[int]()

    def failing(session: Session) -> None:
        if random.random() < 0.2:
            session.connection.execute("SELECT no_such_column FROM store")
        end(session)

    monkeypatch.setattr(Session, "end", failing)

    def work() -> None:
        for _ in range(30):
            try:
                done.append(store.increment("n"))
            except (NotApplied, Ambiguous):  # rolled back, here
                refused.append(1)

    for thread in [started(work) for _ in range(8)]:
        thread.result(LIMIT)
    assert len(done) + len(refused) == 240 and refused
    assert sorted(done) == list(range(1, len(done) + 1))
    monkeypatch.undo()
    assert store.get("n") == len(done)


def test_cancelled_tasks_leave_their_turn(store: TieredBackend, record: Gated) -> None:
    record.shut = True

    async def work() -> int:
        tasks = AsyncTieredBackend.over(store)
        calls = [asyncio.create_task(tasks.increment("n")) for _ in range(60)]
        while not record.waiting:
            await asyncio.sleep(0.001)
        for call in calls[::2]:
            call.cancel()
        await asyncio.sleep(0)
        record.shut = False
        record.let_through(len(record.waiting))
        done = await asyncio.gather(*calls, return_exceptions=True)
        return sum(type(it) is int for it in done)

    acknowledged = asyncio.run(work())
    assert 30 <= acknowledged <= store.lookup("n").value <= 60


def test_a_function_that_changes_a_key_where_somebody_does_not_get_on_comes_to_an_end(
    store: TieredBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "GLANCE", 0.01)
    turn = Turn()
    drive(store._core.space.turns.wait("n", turn))  # somebody is at n, and never gets on

    def change(value: Any) -> int:
        return int(store.increment("n")) + (value or 0)

    assert store.update("m", change) == 1
    assert store.get("n") == 1


def test_a_slow_function_beside_quick_ones_comes_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick ones wait for it a moment, and then for as long as it was seen to take; it lost to every one of them."""
    monkeypatch.setattr(turns, "GLANCE", 0.01)
    calls, over = list[int](), threading.Event()

    def slow(value: int) -> int:
        calls.append(value)
        time.sleep(0.1)
        return value + 1

    def quick(store: TieredBackend) -> int:
        count = 0
        while not over.is_set():
            store.increment("n")
            count += 1
        return count

    with TieredBackend([MemoryTier(), FileTier(tmp_path, sync="normal")]) as store:
        quicks = [started(lambda: quick(store)) for _ in range(3)]
        try:
            eventually(lambda: (store.get("n") or 0) > 20, "the quick ones")
            started(lambda: store.update("n", slow)).result(LIMIT)
        finally:
            over.set()
        counted = sum(it.result(LIMIT) for it in quicks)
        assert store.get("n") == counted + 1
    assert len(calls) < 20


CHANGES: list[Callable[[TieredBackend], object]] = [
    lambda store: store.increment("n"),
    lambda store: store.touch("n", 60),
    lambda store: store.set("n", 1),
    lambda store: store.add("n", 1),
    lambda store: store.delete("n"),
    lambda store: store.set_many({"other": 1, "n": 1}),
    lambda store: store.update("other", lambda _: store.increment("n")),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_function_that_writes_to_its_own_key_is_told_so(
    store: TieredBackend, change: Callable[[TieredBackend], object]
) -> None:
    """Its write would come first, a thousand times."""
    with pytest.raises(NotApplied, match="the function that changes 'n' writes to that key itself") as caught:
        store.update("n", lambda value: change(store))
    assert caught.value.reason is Reason.MISUSE and store.get("n") == 0


def test_a_function_of_a_task_that_writes_to_its_own_key_is_told_so(store: TieredBackend) -> None:
    begun: list[asyncio.Task[int]] = []

    async def work() -> None:
        tasks = AsyncTieredBackend.over(store)

        async def inner(value: int) -> int:
            return await tasks.increment("n") + value

        async def later() -> int:
            await over.wait()
            return await tasks.increment("n")

        async def other(value: int) -> int:
            begun.append(asyncio.create_task(later()))
            return value + await tasks.increment("other")

        over = asyncio.Event()
        with pytest.raises(NotApplied, match="let it return the new value"):
            await tasks.update("n", inner)
        assert await tasks.update("n", other) == 1
        over.set()
        assert await begun[0] == 2  # a task that the function began, and that outlives it

    asyncio.run(work())


def test_a_function_may_change_the_same_key_of_another_namespace(store: TieredBackend) -> None:
    assert store.update("n", lambda value: value + store.namespace("other").increment("n")) == 1


def test_a_loop_that_was_closed_leaves_nobody_in_the_queue(store: TieredBackend) -> None:
    """Closed without cancelling, as no `asyncio.run` does: who waited there for a turn is forgotten with it."""
    loop, backend = asyncio.new_event_loop(), AsyncTieredBackend.over(store)

    async def never(_: int) -> int:
        await asyncio.Event().wait()
        return 0

    async def begin() -> None:
        for _ in range(3):
            loop.create_task(backend.update("n", never))
        await asyncio.sleep(0.01)

    loop.set_exception_handler(lambda *_: None)  # that they are pending
    loop.run_until_complete(begin())
    assert len(store._core.space.turns._queues["n"].turns) == 3
    loop.close()
    gc.collect()
    assert not store._core.space.turns._queues
