"""`AsyncTieredBackend`: the same operations, combined, and nothing broken by tasks that come and go."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.loops import FACTORIES, Gate, Loop, until
from tests.waiting import LIMIT, eventually, started
from tiered import (
    AsyncTieredBackend,
    FileTier,
    InvalidKey,
    InvalidTtl,
    InvalidValue,
    MemoryTier,
    TieredBackend,
    TieredError,
    lane,
    pool,
)
from tiered.errors import Ambiguous, NotApplied, Reason, StoreUnavailable
from tiered.lane import WORKERS

user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")


@pytest.fixture(params=sorted(FACTORIES))
def run(request: pytest.FixtureRequest) -> Loop:
    return Loop(request.param)


@pytest.fixture
def file(tmp_path: Path) -> FileTier:
    return FileTier(tmp_path / "data")


@pytest.fixture
def plain(file: FileTier) -> Iterator[TieredBackend]:
    with TieredBackend([MemoryTier(), file]) as it:
        it.get("warm")
        yield it


@pytest.fixture
def store(plain: TieredBackend) -> AsyncTieredBackend:
    return AsyncTieredBackend.over(plain)


@pytest.fixture
def patient(plain: TieredBackend, monkeypatch: pytest.MonkeyPatch) -> AsyncTieredBackend:
    """One whose threads may be held for as long as a test likes, without others coming to help."""
    monkeypatch.setattr(pool, "PATIENCE", LIMIT)
    return AsyncTieredBackend.over(plain)


def forget(store: TieredBackend) -> None:
    """Empty this process's memory."""
    with store._core.chain.memory.lock:
        store._core.chain.memory.empty(store._core.space.part)


# The API


def public(kind: type) -> dict[str, Any]:
    return {name: getattr(kind, name) for name in vars(kind) if not name.startswith("_")}


def signature(method: Any) -> inspect.Signature:
    """With Any for what is as the caller's function returns it: for tasks, overloads say so (test_typed.py)."""
    told = inspect.signature(method)
    parameters = [it.replace(annotation=generic(it.annotation)) for it in told.parameters.values()]
    return told.replace(parameters=parameters, return_annotation=generic(told.return_annotation))


def generic(annotation: str) -> str:
    return annotation.replace("_Value", "Any") if isinstance(annotation, str) else annotation


def test_every_operation_is_there_with_the_same_signature() -> None:
    sync, tasks = public(TieredBackend), public(AsyncTieredBackend)
    assert set(tasks) - set(sync) == {"over"} and set(sync) <= set(tasks)
    for name, method in sync.items():
        ours, theirs = signature(tasks[name]), signature(method)
        assert list(ours.parameters.values()) == list(theirs.parameters.values()), name
        returned = str(theirs.return_annotation).replace("Iterator", "AsyncIterator")
        assert ours.return_annotation == returned.replace("TieredBackend", "AsyncTieredBackend"), name


def test_all_but_constructors_views_and_iterators_is_awaited() -> None:
    tasks = public(AsyncTieredBackend)
    plain = {name for name, method in tasks.items() if not inspect.iscoroutinefunction(method)}
    assert plain == {"over", "from_url", "from_config", "keys", "items", "namespace"}


def test_without_it_asyncio_is_not_imported() -> None:
    code = "import sys, tiered; tiered.FileTier; sys.exit('asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_whole_api(run: Loop, tmp_path: Path, redis_url: str) -> None:
    async def work() -> None:
        url = f"memory://,{redis_url}?timeout=5s&connect_timeout=5s,file:{tmp_path}/all"
        async with AsyncTieredBackend.from_url(url, namespace="bot") as store:
            assert await store.get("warm") is None
            await until(
                lambda: store._store._core.space.subscribed
            )  # which empties memory, as any gap in the messages does
            outcome = await store.set("k", [1], ttl=60)
            assert outcome.tiers == {"memory": "ok", "redis": "ok", "file": "ok"}
            assert await store.get("k") == [1] and await store.get("none", "default") == "default"
            assert (await store.lookup("k")).tier == "memory" and 0 < (await store.ttl("k") or 0) <= 60
            assert await store.ttl("none") is None and not (await store.lookup("none")).found
            assert await store.add("k", 2) is None and await store.add("new", 2)
            assert await store.touch("k", None) and await store.ttl("k") == float("inf")
            assert not await store.touch("none", 1)
            assert await store.update("k", lambda old: [*old, 2]) == [1, 2]
            assert await store.increment("n") == 1 and await store.increment("n", 4) == 5
            assert await store.get_or_set("made", lambda: "value", ttl=60) == "value" == await store.get("made")
            assert list(await store.set_many({"a": 1, "b": 2})) == ["a", "b"]
            assert await store.get_many(["b", "none", "a"]) == {"b": 2, "a": 1}
            assert await store.delete_many(["a", "none"]) == {"a": True, "none": False}
            assert await store.delete("b") and not await store.delete("b")
            assert [key async for key in store.keys("m")] == ["made"]
            assert {key: value async for key, value in store.items()} == {
                "k": [1, 2],
                "made": "value",
                "n": 5,
                "new": 2,
            }
            assert await store.namespace("other").get("k") is None
            assert (await store.health())["redis"]["breaker"] == "closed"
            assert set(await store.replay()) == {"redis"}
            assert (await store.verify()).ok and (await store.repair()).ok
            await store.backup(tmp_path / "copy.sqlite3")
            assert (tmp_path / "copy.sqlite3").exists()
            await store.namespace("other").set("k", 1)
            await store.clear()
            assert [it async for it in store.items()] == [] and await store.namespace("other").get("k") == 1
            stats = (await store.stats())["namespace"]
            assert (stats["sets"], stats["deletes"], stats["loads"]) == (9, 4, 1)
        await store.close()
        with pytest.raises(TieredError, match="closed"):
            await store.get("k")

    run(work())


def test_bad_arguments_are_refused_before_any_io(store: AsyncTieredBackend) -> None:
    async def work() -> None:
        for call in (store.get, store.lookup, store.delete, store.ttl, store.increment):
            for key in (7, "", "\ud800", [], "x" * 2000):
                with pytest.raises(InvalidKey):
                    await call(key)  # type: ignore[arg-type,operator]  # on purpose
        for many in (store.get_many, store.delete_many):
            with pytest.raises(InvalidKey):
                await many("a string")  # type: ignore[operator]
        for no_mapping in ([("k", 1)], "text", 7):
            with pytest.raises(InvalidValue, match="mapping"):
                await store.set_many(no_mapping)  # type: ignore[arg-type]
        with pytest.raises(InvalidTtl):
            await store.set("k", 1, ttl=-1)
        with pytest.raises(InvalidTtl, match="refresh_ahead"):
            await store.get_or_set("k", lambda: 1, ttl=1, refresh_ahead=2)

    Loop()(work())


def test_closing_is_idempotent_and_made_by_cancelled_callers(plain: TieredBackend, store: AsyncTieredBackend) -> None:
    async def work() -> None:
        closing = asyncio.ensure_future(store.close())
        await asyncio.sleep(0)
        closing.cancel()
        await until(lambda: plain._core.chain.closed)
        await store.close()
        with pytest.raises(TieredError, match="closed"):
            await store.set("k", 1)

    Loop()(work())


def test_1200_keys_come_in_pages(run: Loop, store: AsyncTieredBackend) -> None:
    async def work() -> None:
        values = {f"k{n:04}": n for n in range(1200)}
        await store.set_many(values)
        assert {key: value async for key, value in store.items()} == values
        assert [key async for key in store.keys("k11")] == [f"k11{n:02}" for n in range(100)]
        assert [key async for key in store] == list(values)
        with pytest.raises(InvalidKey):
            store.keys(7)  # type: ignore[arg-type]  # on purpose

    run(work())


# Inline, and combined


def test_a_hit_in_memory_does_not_suspend(store: AsyncTieredBackend) -> None:
    async def prepare() -> None:
        await store.set_many({"k": "v", "d": {"a": 1}})

    Loop()(prepare())
    calls: list[tuple[Callable[[], Any], Any]] = [
        (lambda: store.get("k"), "v"),
        (lambda: store.get("d"), {"a": 1}),
        (lambda: store.get_many(["k", "d"]), {"k": "v", "d": {"a": 1}}),
        (lambda: store.get_or_set("k", lambda: "other", ttl=60), "v"),
        (lambda: store.get_or_set("k", lambda: "other", ttl=60, refresh_ahead=1), "v"),
    ]
    for call, value in calls:
        with pytest.raises(StopIteration) as end:
            call().send(None)
        assert end.value.value == value


def test_reads_that_wait_are_one_read(run: Loop, plain: TieredBackend, patient: AsyncTieredBackend) -> None:
    record: Any = plain._core.chain.record
    plain.set_many({f"k{n}": n for n in range(60)})
    forget(plain)
    gate = record.read = Gate(record.read)
    many = record.read_many = Gate(record.read_many)
    many.open()

    async def work() -> None:
        first = asyncio.ensure_future(patient.get("k0"))
        await until(lambda: gate.reached)
        others = [asyncio.ensure_future(patient.get(f"k{n % 60}")) for n in range(1, 120)]
        others.append(asyncio.ensure_future(patient.get_many([f"k{n}" for n in range(60)])))
        await asyncio.sleep(0)
        gate.open()
        assert await first == 0
        assert await asyncio.gather(*others) == [
            *(n % 60 for n in range(1, 120)),
            {f"k{n}": n for n in range(60)},
        ]

    run(work())
    assert gate.reached == 1 and [len(keys) for _, keys in many.calls] == [59]  # k0 had come meanwhile


def test_writes_that_wait_are_one_commit_in_order(run: Loop, plain: TieredBackend, patient: AsyncTieredBackend) -> None:
    record: Any = plain._core.chain.record
    gate = record.commit = Gate(record.commit)

    async def work() -> None:
        first = asyncio.ensure_future(patient.set("k0", 0))
        await until(lambda: gate.reached)
        calls = [
            *(patient.set(f"k{n}", n) for n in range(1, 50)),
            patient.add("k7", "not"),
            patient.add("new", 1),
            patient.delete("k8"),
            patient.set_many({"k1": "again", "m": 1}),
            patient.delete("none"),
        ]
        others = [asyncio.ensure_future(call) for call in calls]
        await asyncio.sleep(0)
        gate.open()
        results = await asyncio.gather(first, *others)
        assert results[50] is None and results[51].version and results[52] is True and results[54] is False
        assert list(results[53]) == ["k1", "m"]
        assert len({outcome.version for outcome in results[:50]}) == 50

    run(work())
    assert gate.reached == 2
    for _ in range(2):
        found = plain.get_many([f"k{n}" for n in range(50)])
        assert found == {"k1": "again"} | {f"k{n}": n for n in range(50) if n not in (1, 8)}
        forget(plain)


def test_damage_under_one_key_is_no_others_error(run: Loop, plain: TieredBackend, patient: AsyncTieredBackend) -> None:
    record: Any = plain._core.chain.record
    plain.set_many({f"k{n}": n for n in range(10)})
    forget(plain)
    inner = record.read_many

    def damaged(namespace: str, keys: Any) -> Any:
        generation, frames = inner(namespace, keys)
        return generation, [b"damage" if key == "k5" else frame for key, frame in zip(keys, frames, strict=True)]

    record.read_many = damaged
    gate = record.read = Gate(record.read)

    async def work() -> list[Any]:
        first = asyncio.ensure_future(patient.get("k0"))
        await until(lambda: gate.reached)
        others = [asyncio.ensure_future(patient.get(f"k{n}")) for n in range(1, 10)]
        others.append(asyncio.ensure_future(patient.get_many(["k5", "k6"])))
        await asyncio.sleep(0)
        gate.open()
        await first
        return await asyncio.gather(*others, return_exceptions=True)

    results = run(work())
    assert results[:4] + results[5:9] == [1, 2, 3, 4, 6, 7, 8, 9]
    for error in (results[4], results[9]):
        assert isinstance(error, StoreUnavailable) and error.reason is Reason.SERIALIZATION
    assert results[4] is not results[9] and not plain._core.space.flights.leaders


def test_a_record_that_is_away_fails_each_with_an_error_of_its_own(
    run: Loop, plain: TieredBackend, patient: AsyncTieredBackend
) -> None:
    record: Any = plain._core.chain.record

    def away(*args: Any, **options: Any) -> Any:
        raise StoreUnavailable("away", tier="file", reason=Reason.CONNECTION)

    def doubtful(*args: Any, **options: Any) -> Any:
        raise Ambiguous("perhaps", tier="file", reason=Reason.TIMEOUT)

    async def work() -> None:
        await patient.set("k1", "old")
        record.read = record.read_many = away
        record.commit = doubtful
        writes = await asyncio.gather(*(patient.set(f"k{n}", n) for n in range(20)), return_exceptions=True)
        reads = await asyncio.gather(*(patient.get(f"k{n}") for n in range(20)), return_exceptions=True)
        assert all(type(it) is Ambiguous and it.tier == "file" and str(it) == "file: perhaps" for it in writes)
        assert all(type(it) is StoreUnavailable and it.reason is Reason.CONNECTION for it in reads)
        assert len({id(it) for it in (*writes, *reads)}) == 40
        del record.read, record.read_many, record.commit
        assert await patient.get("k1") == "old"

    run(work())


def test_a_write_that_is_too_large_fails_alone(run: Loop) -> None:
    with TieredBackend([MemoryTier(max_bytes=100_000)]) as plain:
        store = AsyncTieredBackend.over(plain)

        async def work() -> list[Any]:
            calls = [store.set(f"k{n}", "x" * (200_000 if n == 3 else 10)) for n in range(8)]
            return await asyncio.gather(*calls, return_exceptions=True)

        results = run(work())
        error = results.pop(3)
        assert isinstance(error, NotApplied) and error.reason is Reason.TOO_LARGE
        assert all(outcome.version for outcome in results) and plain.get("k2") == "x" * 10


def test_a_record_that_commits_one_by_one_is_not_asked_for_more(run: Loop, tmp_path: Path) -> None:
    record: Any = FileTier(tmp_path / "single")
    record.one_by_one = True
    commit = record.commit = Gate(record.commit)
    commit.open()
    with TieredBackend([MemoryTier(), record]) as plain:
        store = AsyncTieredBackend.over(plain)

        async def work() -> None:
            await asyncio.gather(*(store.set(f"k{n}", n) for n in range(40)))
            await store.set_many({"a": 1, "b": 2})
            assert [len(writes) for _, writes in commit.calls] == [*[1] * 40, 2]
            assert await store.get_many(["k7", "a"]) == {"k7": 7, "a": 1}

        run(work())


def test_a_value_is_stored_as_it_was_at_the_call(run: Loop, store: AsyncTieredBackend) -> None:
    async def work() -> None:
        value = {"a": [1]}
        setting = asyncio.ensure_future(store.set_many({"k": value}))
        await asyncio.sleep(0)
        value["a"].append(2)
        await setting
        assert await store.get("k") == {"a": [1]}

    run(work())


@pytest.mark.parametrize("later", [0, 0.03], ids=["at once", "beyond the pool's patience"])
def test_what_hangs_keeps_nobody_else_waiting(
    later: float, run: Loop, plain: TieredBackend, store: AsyncTieredBackend
) -> None:
    record: Any = plain._core.chain.record
    plain.set_many({"slow": 1, "quick": 2})
    forget(plain)
    inner, gate = record.read, Gate(record.read)
    record.read = lambda namespace, key: (gate if key == "slow" else inner)(namespace, key)

    async def work() -> None:
        slow = asyncio.ensure_future(store.get("slow"))
        await until(lambda: gate.reached)
        await asyncio.sleep(later)
        assert await store.get("quick") == 2 and not slow.done()
        gate.open()
        assert await slow == 1

    run(work())


# Tasks that are cancelled, loops that end


def test_a_cancelled_write_is_made_and_a_cancelled_read_harms_nobody(
    run: Loop, plain: TieredBackend, store: AsyncTieredBackend
) -> None:
    record: Any = plain._core.chain.record
    commit = record.commit = Gate(record.commit)

    async def work() -> None:
        writing = asyncio.ensure_future(store.set("k", "v"))
        await until(lambda: commit.reached)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        commit.open()
        await until(lambda: plain.get("k") == "v")
        forget(plain)
        read = record.read = Gate(record.read)
        reading, other = (asyncio.ensure_future(store.get("k")) for _ in range(2))
        await until(lambda: read.reached)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await store.get("k")
        reading.cancel()
        read.open()
        assert await other == "v" == await store.get("k")

    run(work())


async def cancelled(calls: list[Coroutine[Any, Any, Any]]) -> None:
    """`calls` of tasks that have asked, and then go."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    assert all(isinstance(it, asyncio.CancelledError) for it in await asyncio.gather(*tasks, return_exceptions=True))


def test_what_nobody_has_begun_is_not_made_for_callers_who_are_gone(
    run: Loop, plain: TieredBackend, patient: AsyncTieredBackend
) -> None:
    record: Any = plain._core.chain.record
    commit, read, clear = (Gate(it) for it in (record.commit, record.read, record.clear))
    record.commit, record.read, record.clear = commit, read, clear
    many = record.read_many = Gate(record.read_many)
    many.open()

    async def work() -> None:
        begun = [asyncio.ensure_future(it) for it in (patient.set("begun", 1), patient.get("begun"))]
        begun += [asyncio.ensure_future(patient.clear()) for _ in range(WORKERS)]
        await until(lambda: commit.reached and read.reached and clear.reached == WORKERS)
        await cancelled(
            [
                *(patient.set(f"k{n}", "x" * 1000) for n in range(50)),
                *(patient.get(f"k{n}") for n in range(50)),
                *(patient.clear() for _ in range(5)),
            ]
        )
        staying = [asyncio.ensure_future(patient.set(f"stays{n}", n)) for n in range(5)]
        await asyncio.sleep(0)
        pool = patient._pool
        assert len(pool._commits._jobs) == 5 and not pool._reads._jobs and not pool._calls._jobs
        clear.open()
        await asyncio.gather(*begun[2:])  # before what is to stay
        for gate in (commit, read):
            gate.open()
        await asyncio.gather(*begun, *staying)
        assert pool._waiting == 0
        assert sorted([key async for key in patient.keys("stays")]) == [f"stays{n}" for n in range(5)]

    run(work())
    assert sum(len(writes) for _, writes in commit.calls) == 6 and clear.reached == WORKERS
    assert read.reached == 1 and not many.reached


def test_it_is_closed_for_a_caller_who_is_gone_before_that_was_begun(plain: TieredBackend) -> None:
    store = AsyncTieredBackend.over(plain)
    clear = plain._core.chain.record.clear = Gate(plain._core.chain.record.clear)  # type: ignore[method-assign]

    async def work() -> None:
        hanging = [asyncio.ensure_future(store.clear()) for _ in range(WORKERS)]
        await until(lambda: clear.reached == WORKERS)
        await cancelled([store.close()])
        clear.open()
        await until(lambda: plain._core.chain.closed)
        ended = await asyncio.gather(*hanging, return_exceptions=True)
        assert all(it is None or isinstance(it, NotApplied) for it in ended)  # done before that, or told

    Loop()(work())


def test_more_than_may_wait_is_refused_before_anything_is_written(
    run: Loop, plain: TieredBackend, patient: AsyncTieredBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "MOST_WAITING", 200_000)
    record: Any = plain._core.chain.record
    gate = record.commit = Gate(record.commit)

    async def work() -> None:
        begun = asyncio.ensure_future(patient.set("large", "x" * 500_000))  # alone it may
        await until(lambda: gate.reached)
        for call, kind in (
            (patient.set("k", 1), NotApplied),
            (patient.clear(), NotApplied),
            (patient.increment("k"), NotApplied),
            (patient.get("k"), StoreUnavailable),
            (patient.get_many(["k"]), StoreUnavailable),
        ):
            with pytest.raises(kind) as refused:
                await call
            assert refused.value.reason is Reason.BUSY
        gate.open()
        await begun
        assert await patient.get("k") is None and await patient.set("k", 1)
        results = await asyncio.gather(*(patient.set(f"k{n}", "x" * 10_000) for n in range(50)), return_exceptions=True)
        refusals = [it for it in results if isinstance(it, NotApplied) and it.reason is Reason.BUSY]
        assert 0 < len(refusals) < 50 == len([key async for key in patient.keys("k")]) - 1 + len(refusals)

    run(work())


def test_ten_thousand_tasks_may_wait_at_once(store: AsyncTieredBackend) -> None:
    async def work() -> None:
        await asyncio.gather(*(store.set(f"k{n}", n) for n in range(2_000)), *(store.get("x") for _ in range(8_000)))
        assert await store.get("k1999") == 1999

    Loop()(work())


def test_a_storm_of_cancellations_leaves_nothing(run: Loop, tmp_path: Path, redis_url: str) -> None:
    url = f"memory://?max_entries=20,{redis_url}?timeout=5s&connect_timeout=5s,file:{tmp_path}/storm"
    plain = TieredBackend.from_url(url)
    store = AsyncTieredBackend.over(plain)

    async def loader() -> str:
        await asyncio.sleep(0.001)
        return "loaded"

    def operation(n: int) -> Any:
        key, kinds = f"k{n % 40}", 8
        return (
            lambda: store.get(key),
            lambda: store.set(key, n),
            lambda: store.delete(key),
            lambda: store.get_or_set(key, loader, ttl=60),
            lambda: store.get_or_set(key, lambda: "sync", ttl=60),
            lambda: store.get_many([f"k{n % 40}", f"k{(n + 1) % 40}"]),
            lambda: store.update(key, lambda old: n, default=0),
            lambda: store.set_many({key: n, f"k{(n + 7) % 40}": n}),
        )[(n // 40 + n) % kinds]()

    async def task(n: int) -> None:
        try:
            async with asyncio.timeout(None if n % 3 == 0 else (n % 11) * 0.0004):
                await operation(n)
        except TimeoutError:
            return

    async def work() -> None:
        for start in range(0, 1600, 64):
            tasks = [asyncio.ensure_future(task(n)) for n in range(start, start + 64)]
            await asyncio.sleep((start % 5) * 0.001)
            for it in tasks[::7]:
                it.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert not [it.exception() for it in tasks if not it.cancelled() and it.exception()]
        await until(
            lambda: not plain._core.space.loads and not plain._core.space.flights.leaders, "that nothing is under way"
        )
        await until(lambda: not plain._core.service.loading.leases.heartbeat._held, "that no lease is held")
        await store.set("k", "after")
        assert await store.get("k") == "after"
        assert (await store.verify()).ok
        assert {key: await store.get(key) async for key in store.keys("k")} == dict(plain.items())
        await store.close()

    run(work())


def test_calls_of_a_loop_that_was_closed_are_forgotten(plain: TieredBackend, patient: AsyncTieredBackend) -> None:
    record: Any = plain._core.chain.record
    read = record.read = Gate(record.read)
    loop = asyncio.new_event_loop()
    pending = loop.create_task(patient.get("k"))
    while not read.reached:
        loop.run_until_complete(asyncio.sleep(0.001))
    pending.cancel()
    loop.run_until_complete(asyncio.wait([pending]))
    loop.close()
    read.open()

    async def work() -> None:
        await patient.set("k", "v")
        assert await patient.get("k") == "v"

    Loop()(work())


def test_a_loop_that_is_closed_over_a_call_breaks_no_other(plain: TieredBackend, patient: AsyncTieredBackend) -> None:
    """Closed without cancelling, as no `asyncio.run` does: its answer is dropped, a later loop is served by the same thread."""
    record: Any = plain._core.chain.record
    read = record.read = Gate(record.read)
    loop = asyncio.new_event_loop()
    calls = [patient.get("a"), patient.get("b")]
    for call in calls:
        loop.call_soon(call.send, None)  # begun, and then never gone on with
    loop.run_until_complete(asyncio.sleep(0.01))
    eventually(lambda: read.reached)
    loop.close()
    read.open()
    for call in calls:
        call.close()
    Loop()(patient.set("k", "v"))
    assert Loop()(patient.get("k")) == "v"


def test_two_loops_in_two_threads_share_commits_and_answers(store: AsyncTieredBackend) -> None:
    async def work(name: str) -> int:
        for n in range(20):
            await asyncio.gather(*(store.set(f"{name}:{n}:{i}", n) for i in range(10)))
            await asyncio.gather(*(store.increment("shared") for _ in range(2)))
        return len([key async for key in store.keys(f"{name}:")])

    threads = [
        started(lambda name=name, kind=kind: Loop(kind)(work(name)))
        for name, kind in (("a", "asyncio"), ("b", "uvloop"))
    ]  # type: ignore[misc]
    assert [it.result(LIMIT) for it in threads] == [200, 200]
    assert Loop()(store.get("shared")) == 80


def test_a_child_of_a_fork_uses_it_in_a_loop_of_its_own(store: AsyncTieredBackend) -> None:
    async def work() -> Any:
        await store.set("child", "v")
        return await store.get_many(["child", "parent"])

    Loop()(store.set("parent", 1))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = Loop()(work()) != {"child": "v", "parent": 1}
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert Loop()(store.get_many(["child", "parent"])) == {"child": "v", "parent": 1}


@pytest.mark.parametrize("side", ["tasks", "threads"])
def test_its_threads_end_when_either_side_is_closed(tmp_path: Path, monkeypatch: Any, side: str) -> None:
    monkeypatch.setattr(lane, "IDLE", 10 * LIMIT)
    before = threading.enumerate()

    def ours() -> list[threading.Thread]:
        return [it for it in threading.enumerate() if it.name.startswith("tiered-async") and it not in before]

    async def work() -> None:
        store = AsyncTieredBackend.over(plain)
        await asyncio.gather(*(store.set(f"k{n}", n) for n in range(50)), *(store.get(f"x{n}") for n in range(50)))
        await asyncio.gather(*(store.health() for _ in range(20)))
        assert 3 <= len(ours()) <= 3 * WORKERS  # more than six where the disk is slow
        if side == "tasks":
            await store.close()

    with TieredBackend([MemoryTier(), FileTier(tmp_path / "t")]) as plain:
        Loop()(work())
    eventually(lambda: not ours(), "that its threads end")


# Context variables


def test_loaders_and_functions_see_the_callers_context(run: Loop, store: AsyncTieredBackend) -> None:
    seen: dict[str, str] = {}

    def note(name: str) -> str:
        seen[name] = user.get()
        return name

    async def note_later(name: str) -> str:
        await asyncio.sleep(0)
        return note(name)

    async def ask(name: str) -> None:
        user.set(name)
        await store.get_or_set(f"{name}/sync", lambda: note(f"{name}/sync"))
        await store.get_or_set(f"{name}/async", lambda: note_later(f"{name}/async"))
        await store.update(f"{name}/update", lambda _: note(f"{name}/update"))
        await store.update(f"{name}/awaited", lambda _: note_later(f"{name}/awaited"))

    async def work() -> None:
        await asyncio.gather(ask("ada"), ask("bob"))
        assert user.get() == "nobody"

    run(work())
    assert len(seen) == 8 and all(name.startswith(whose) for name, whose in seen.items())


def test_as_many_stores_over_one_as_there_are_requests_have_one_set_of_threads(plain: TieredBackend) -> None:
    async def request(number: int) -> None:
        store = AsyncTieredBackend.over(plain)
        await asyncio.gather(store.set("k", number), store.increment("n"), store.get(f"absent {number}"))

    before = threading.active_count()
    for number in range(60):
        asyncio.run(request(number))
    assert threading.active_count() - before <= 3 * WORKERS
    assert AsyncTieredBackend.over(plain)._pool is AsyncTieredBackend.over(plain).namespace("other")._pool
