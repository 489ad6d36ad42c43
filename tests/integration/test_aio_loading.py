"""`get_or_set` for tasks: sync and async loaders, one single-flight domain with the threads of the process, nobody stuck."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.clocks import HandClock
from tests.loops import FACTORIES, Gate, Loop, until
from tests.waiting import LIMIT, eventually, started
from tiered import AsyncTieredBackend, FileTier, InvalidValue, MemoryTier, RecursiveLoad, RedisTier, TieredBackend, pool
from tiered.replication.singleflight import Load

user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")


@pytest.fixture(params=sorted(FACTORIES))
def run(request: pytest.FixtureRequest) -> Loop:
    return Loop(request.param)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def plain(tmp_path: Path, clock: HandClock) -> Iterator[TieredBackend]:
    with TieredBackend([MemoryTier(clock=clock), FileTier(tmp_path / "data", clock=clock)], clock=clock) as it:
        it.get("warm")
        yield it


@pytest.fixture
def store(plain: TieredBackend) -> AsyncTieredBackend:
    return AsyncTieredBackend.over(plain)


def count(store: TieredBackend, name: str) -> int:
    return int(store.stats()["namespace"][name])


def is_free(store: AsyncTieredBackend, key: str) -> bool:
    """Whether the lease of a load that has ended was given back: a moment later, beside the caller."""
    core = store._core
    lease = core.loads._leases.take(core.space, key)
    if lease is not None:
        core.loads._leases.release(lease)
    return lease is not None


class Loader:
    """An async loader that says when it runs, and ends when it is let go."""

    def __init__(self, value: Any = "loaded") -> None:
        self.value, self.calls, self.cancelled = value, 0, 0
        self.go = asyncio.Event()

    async def __call__(self) -> Any:
        self.calls += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self.value, BaseException):
            raise self.value
        return self.value


async def never() -> Any:
    raise AssertionError("this loader must not run")


def test_loaders_may_be_of_every_kind(run: Loop, store: AsyncTieredBackend) -> None:
    async def value(it: Any) -> Any:
        await asyncio.sleep(0)
        return it

    async def work() -> None:
        assert await store.get_or_set("function", lambda: 1) == 1
        assert await store.get_or_set("coroutine function", partial(value, 2)) == 2
        assert await store.get_or_set("lambda", lambda: value(3)) == 3
        loader = Loader(4)
        loader.go.set()
        assert await store.get_or_set("object", loader) == 4
        assert await store.get_or_set("none", partial(value, None)) is None
        assert await store.get_or_set("none", never) is None
        with pytest.raises(ZeroDivisionError):
            await store.get_or_set("error", lambda: 1 // 0)
        with pytest.raises(InvalidValue):
            await store.get_or_set("bad", partial(value, object()))
        assert await store.get_many(["error", "bad"]) == {}

    run(work())


def test_64_tasks_and_8_threads_run_one_loader(run: Loop, plain: TieredBackend, store: AsyncTieredBackend) -> None:
    async def work() -> None:
        loader = Loader(["value"])
        asked = [asyncio.ensure_future(store.get_or_set("k", loader, ttl=60)) for _ in range(64)]
        await until(lambda: loader.calls)
        threads = [started(lambda: plain.get_or_set("k", lambda: "of a thread", ttl=60)) for _ in range(8)]
        await until(lambda: count(plain, "joined") == 71)
        loader.go.set()
        values = await asyncio.gather(*asked)
        values += [await asyncio.to_thread(it.result, LIMIT) for it in threads]
        assert values == [["value"]] * 72 and len({id(it) for it in values}) == 72
        assert loader.calls == count(plain, "loads") == 1

    run(work())


def test_tasks_join_what_a_thread_loads(run: Loop, plain: TieredBackend, store: AsyncTieredBackend) -> None:
    loader = Gate(lambda: "of a thread")
    thread = started(lambda: plain.get_or_set("k", loader, ttl=60))
    eventually(lambda: loader.reached)

    async def work() -> None:
        asked = [asyncio.ensure_future(store.get_or_set("k", never, ttl=60)) for _ in range(8)]
        await until(lambda: count(plain, "joined") == 8)
        loader.open()
        assert await asyncio.gather(*asked) == ["of a thread"] * 8

    run(work())
    assert thread.result(LIMIT) == "of a thread"


def test_a_slow_loader_keeps_no_thread_of_the_store(run: Loop, store: AsyncTieredBackend) -> None:
    async def work() -> None:
        loaders = [Loader(n) for n in range(50)]
        asked = [asyncio.ensure_future(store.get_or_set(f"k{n}", it)) for n, it in enumerate(loaders)]
        waiting = [asyncio.ensure_future(store.get_or_set("k0", never)) for _ in range(200)]
        await until(lambda: all(it.calls for it in loaders))
        await store.set("other", 1)
        assert await store.get_or_set("another", lambda: 2) == 2 and (await store.health())["file"]["ok"]
        for it in loaders:
            it.go.set()
        assert await asyncio.gather(*asked, *waiting) == [*range(50), *[0] * 200]

    run(work())


@pytest.mark.parametrize("how", ["cancelled", "timed out"])
def test_when_the_one_who_loads_is_gone_another_takes_over(
    run: Loop, plain: TieredBackend, store: AsyncTieredBackend, how: str
) -> None:
    async def work() -> None:
        first, second = Loader(), Loader("of the second")
        limits: list[asyncio.Timeout] = []

        async def lead() -> Any:
            async with asyncio.timeout(None) as limit:
                limits.append(limit)
                return await store.get_or_set("k", first)

        leader = asyncio.ensure_future(lead())
        await until(lambda: first.calls)
        others = [asyncio.ensure_future(store.get_or_set("k", second)) for _ in range(5)]
        await until(lambda: count(plain, "joined") >= 5)
        if how == "cancelled":
            leader.cancel()
        else:
            limits[0].reschedule(0.0)
        with pytest.raises(asyncio.CancelledError if how == "cancelled" else TimeoutError):
            await leader
        await until(lambda: second.calls)
        second.go.set()
        assert await asyncio.gather(*others) == ["of the second"] * 5
        assert first.cancelled == first.calls == 1 == second.calls and not plain._core.space.loads

    run(work())


def test_one_who_waits_and_is_cancelled_harms_nobody(
    run: Loop, plain: TieredBackend, store: AsyncTieredBackend
) -> None:
    async def work() -> None:
        loader = Loader()
        asked = [asyncio.ensure_future(store.get_or_set("k", loader)) for _ in range(5)]
        await until(lambda: count(plain, "joined") == 4 and loader.calls)
        asked[3].cancel()
        loader.go.set()
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(results.pop(3), asyncio.CancelledError) and results == ["loaded"] * 4

    run(work())


def test_an_error_is_raised_for_each_who_waited_and_the_next_call_tries_again(
    run: Loop, plain: TieredBackend, store: AsyncTieredBackend
) -> None:
    async def work() -> None:
        loader = Loader(ValueError("no"))
        asked = [asyncio.ensure_future(store.get_or_set("k", loader)) for _ in range(5)]
        await until(lambda: count(plain, "joined") == 4)
        loader.go.set()
        assert [str(it) for it in await asyncio.gather(*asked, return_exceptions=True)] == ["no"] * 5
        assert await store.get_or_set("k", lambda: "next") == "next" and loader.calls == 1

    run(work())


def test_stale_is_served_while_another_task_loads_and_when_it_fails(
    run: Loop, store: AsyncTieredBackend, clock: HandClock
) -> None:
    async def work() -> None:
        assert await store.get_or_set("k", lambda: "old", ttl=10, stale_ttl=60) == "old"
        await until(lambda: is_free(store, "k"))
        clock.advance(20)
        loader = Loader("new")
        loading = asyncio.ensure_future(store.get_or_set("k", loader, ttl=10, stale_ttl=60))
        await until(lambda: loader.calls)
        assert await store.get_or_set("k", never, ttl=10, stale_ttl=60) == "old"
        loader.go.set()
        assert await loading == "new"
        await until(lambda: is_free(store, "k"))
        clock.advance(20)
        assert await store.get_or_set("k", lambda: 1 // 0, ttl=10, stale_ttl=60) == "new"

    run(work())


def test_a_hit_that_is_due_is_loaded_again_in_the_background_in_the_callers_context(
    run: Loop, plain: TieredBackend, store: AsyncTieredBackend, clock: HandClock
) -> None:
    async def loader() -> str:
        await asyncio.sleep(0)
        return f"for {user.get()} in {id(asyncio.get_running_loop())}"

    async def work() -> None:
        options: dict[str, Any] = {"ttl": 100, "refresh_ahead": 20}
        here = id(asyncio.get_running_loop())
        user.set("ada")
        first = await store.get_or_set("k", loader, **options)
        assert first == f"for ada in {here}"
        clock.advance(90)
        user.set("bob")
        assert await store.get_or_set("k", loader, **options) == first
        await ask_until(loader, f"for bob in {here}", **options)
        clock.advance(90)
        user.set("eve")
        await ask_until(lambda: f"for {user.get()} on a thread", "for eve on a thread", **options)

    async def ask_until(loader: Any, value: str, **options: Any) -> None:
        """Again and again, since a refresh is not begun while the one before is being put away."""
        async with asyncio.timeout(LIMIT):
            while await store.get_or_set("k", loader, **options) != value:
                await asyncio.sleep(0.002)

    run(work())


def test_a_refresh_whose_loop_has_ended_is_an_error_and_no_thread_waits_for_it(
    run: Loop, plain: TieredBackend, store: AsyncTieredBackend, clock: HandClock
) -> None:
    async def work() -> None:
        loader = Loader()
        await store.get_or_set("k", lambda: "old", ttl=100)
        clock.advance(90)
        assert await store.get_or_set("k", loader, ttl=100, refresh_ahead=20) == "old"
        await until(lambda: loader.calls)

    run(work())
    eventually(lambda: count(plain, "refresh_errors") == 1 and not plain._core.space.loads)
    assert plain.get("k") == "old"


def test_a_loader_that_needs_its_own_key_is_told(run: Loop, store: AsyncTieredBackend) -> None:
    async def again() -> Any:
        return await store.get_or_set("k", never)

    async def deeper() -> Any:
        return await asyncio.gather(store.get_or_set("other", again))

    async def work() -> None:
        for loader in (again, deeper, lambda: deeper()):
            with pytest.raises(RecursiveLoad, match="'k'"):
                await store.get_or_set("k", loader)

    run(work())


def test_loaders_that_wait_for_each_other_are_told_and_others_are_not(
    run: Loop, plain: TieredBackend, store: AsyncTieredBackend
) -> None:
    async def work() -> None:
        started = [asyncio.Event(), asyncio.Event()]

        async def ask(mine: int) -> Any:
            started[mine].set()
            await started[1 - mine].wait()
            nested = [
                store.get_or_set("other", lambda: "value"),
                store.get_or_set(f"k{1 - mine}", partial(ask, 1 - mine)),
            ]
            return await asyncio.gather(*nested)

        results = await asyncio.gather(
            *(store.get_or_set(f"k{n}", partial(ask, n)) for n in range(2)), return_exceptions=True
        )
        assert any(isinstance(it, RecursiveLoad) for it in results), results
        await until(lambda: not plain._core.space.loads)

        async def task() -> Any:  # it asks for a key that other tasks load, and is in no loader itself
            return await store.get_or_set("popular", lambda: "value")

        await store.get_or_set("outer", task)
        assert await asyncio.gather(*(task() for _ in range(20))) == ["value"] * 20

    run(work())


@pytest.mark.parametrize("under_way", [0, 1])
def test_loaders_that_leave_tasks_behind_which_load_keep_none_of_the_loads_before(
    run: Loop, plain: TieredBackend, store: AsyncTieredBackend, under_way: int
) -> None:
    """A timer set in a loader runs in that loader's context, and so does the loader that it starts, and the timer set in that."""
    space, tasks, held = plain._core.space, list[asyncio.Task[Any]](), list[int]()

    async def work() -> None:
        async def later(n: int) -> Any:
            while len(space.loads) > under_way:
                await asyncio.sleep(0)  # not `until`: the timers of its time limits would keep their contexts
            return await store.get_or_set(f"k{n}", partial(loader, n))

        async def loader(n: int) -> int:
            if n < 40:
                tasks.append(asyncio.get_running_loop().create_task(later(n + 1)))
            else:
                gc.collect()
                held.append(sum(type(it) is Load and it.space is space for it in gc.get_objects()))
            return n

        await store.get_or_set("k0", partial(loader, 0))
        for n in range(40):
            assert await tasks[n] == n + 1
            tasks[n] = tasks[0]

    run(work())
    assert 0 < held[0] <= 20  # of 41; timers that are over may keep a few for a moment


def test_a_task_that_outlives_its_loader_may_ask_for_the_key(run: Loop, store: AsyncTieredBackend) -> None:
    async def work() -> None:
        left: list[asyncio.Task[Any]] = []
        go = asyncio.Event()

        async def later() -> Any:
            await go.wait()
            await store.delete("k")
            return await store.get_or_set("k", lambda: "second")

        async def loader() -> str:
            left.append(asyncio.ensure_future(later()))
            return "first"

        assert await store.get_or_set("k", loader) == "first"
        go.set()
        assert await left[0] == "second"

    run(work())


def test_a_lease_whose_taker_was_cancelled_is_given_back(run: Loop, tmp_path: Path, redis_url: str) -> None:
    tier = RedisTier(redis_url, timeout=5.0, connect_timeout=5.0)
    with TieredBackend([MemoryTier(), tier, FileTier(tmp_path / "data")], lease_ttl=1000.0) as plain:
        store = AsyncTieredBackend.over(plain)
        take: Any = Gate(tier.leases.take)
        tier.leases.take = take  # type: ignore[method-assign]  # held until the task is gone

        async def work() -> None:
            asking = asyncio.ensure_future(store.get_or_set("k", never))
            await until(lambda: take.reached)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            take.open()
            await until(lambda: take.finished)
            await until(lambda: not tier._link.call("EXISTS", "tiered:default:lease:k"), "that it was given back")

        run(work())


def test_what_nobody_takes_is_undone_though_its_thread_has_not_delivered_it(
    run: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled between the moment that the result is taken and the one that the thread goes on."""
    undone: list[Any] = []

    class Taken:
        def __init__(self) -> None:
            self.inner = threading.Lock()

        def acquire(self, *, blocking: bool) -> bool:
            first = self.inner.acquire(blocking=blocking)
            if first:
                loop.call_soon_threadsafe(asking.cancel)
                eventually(lambda: undone)
            return first

    async def work() -> None:
        nonlocal loop, asking
        loop = asyncio.get_running_loop()
        asking = asyncio.ensure_future(threads.ask(lambda: "a lease", undone.append))
        with pytest.raises(asyncio.CancelledError):
            await asking

    monkeypatch.setattr(pool, "Lock", Taken)
    loop: Any = None
    asking: Any = None
    threads = pool.Pool()
    run(work())
    assert undone == ["a lease"]
    threads.close()


def test_updates_of_one_key_by_many_tasks_are_all_made(
    run: Loop, plain: TieredBackend, store: AsyncTieredBackend
) -> None:
    async def append(value: list[int], n: int) -> list[int]:
        await asyncio.sleep(0)
        return [*value, n]

    async def work() -> None:
        await asyncio.gather(*(store.increment("n") for _ in range(64)))
        assert await store.get("n") == 64
        await asyncio.gather(*(store.update("list", lambda old, n=n: append(old, n), default=[]) for n in range(16)))  # type: ignore[misc]
        assert sorted(await store.get("list")) == list(range(16))
        with pytest.raises(ZeroDivisionError):
            await store.update("list", lambda _: 1 // 0)

    run(work())
