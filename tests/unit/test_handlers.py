"""What a signal handler raises is told from what it came in the middle of."""

from __future__ import annotations

import errno
import functools
import gc
import inspect
import os
import signal
import sys
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from math import inf
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.clocks import HandClock
from tests.waiting import eventually, started
from tiered import FileTier, MemoryTier, RedisTier, StoreUnavailable, TieredBackend
from tiered.chain import Space
from tiered.codecs.rules import PLAIN
from tiered.handlers import pass_on, raised_by_handler
from tiered.reading import Reader
from tiered.replication.guard import Guard
from tiered.testing.contract import value
from tiered.tiers.file_leases import FileLeases
from tiered.tiers.redis_names import Names


class Late(TimeoutError):
    """As programs raise that give themselves a time limit by SIGALRM."""


class Handler:
    """Every way to write one."""

    def method(self, number: int, frame: Any) -> None:
        raise Late

    def __call__(self, number: int, frame: Any) -> None:
        self.method(number, frame)


def function(number: int, frame: Any) -> None:
    raise Late


def one_shot(*arguments: Any) -> None:
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    function(*arguments)


def with_more(what: str, number: int, frame: Any) -> None:
    raise Late(what)


HANDLERS = [function, one_shot, Handler().method, Handler(), functools.partial(with_more, "an hour")]


@pytest.fixture
def handled() -> Iterator[Callable[[Any], Any]]:
    before = signal.getsignal(signal.SIGUSR1)
    yield functools.partial(signal.signal, signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


def interrupted() -> None:
    signal.raise_signal(signal.SIGUSR1)


def wrapping() -> None:
    """As redis-py does of what it knows as a socket's error."""
    try:
        interrupted()
    except TimeoutError:
        raise ConnectionError("no connection") from None


@pytest.mark.parametrize("handler", HANDLERS, ids=["function", "one shot", "method", "callable", "partial"])
@pytest.mark.parametrize("call", [interrupted, wrapping])
def test_it_is_raised_and_not_what_came_of_it(
    handled: Callable[[Any], Any], handler: Any, call: Callable[[], None]
) -> None:
    handled(handler)
    with pytest.raises(Late):
        try:
            call()
        except Exception as error:
            pass_on(error)


def test_what_its_frames_had_is_free_once_it_was_handled(handled: Callable[[Any], Any]) -> None:
    class Thing:
        """As a lease, which is extended as long as somebody has it."""

    handled(function)
    things: list[weakref.ref[Thing]] = []

    def with_a_thing() -> None:
        thing = Thing()
        things.append(weakref.ref(thing))
        try:
            interrupted()
        except Exception as error:
            pass_on(error)

    gc.disable()
    try:
        with_a_thing()
    except Late:
        pass
    finally:
        gc.enable()
    assert things[0]() is None


def test_a_failure_in_the_middle_of_nothing_is_none_of_a_handlers() -> None:
    def failing(number: int, frame: object) -> None:
        raise OSError("a cable")

    try:
        failing(1, object())
    except OSError as error:
        pass_on(error)


def test_a_failure_while_a_caller_handles_what_a_handler_raised_is_not_that(handled: Callable[[Any], Any]) -> None:
    handled(function)
    try:
        wrapping()
    except ConnectionError:
        try:
            raise OSError("a cable")
        except OSError as error:
            pass_on(error)
            return
    raise AssertionError("no interrupt")


def test_a_failure_that_another_thread_shares_with_one_who_handles_an_interrupt_is_an_ordinary_one(
    handled: Callable[[Any], Any],
) -> None:
    """As that of a batch: whoever leads raises it, here from where he handles his time limit, and the others are given it."""
    handled(function)
    shared = OSError("a cable")
    with pytest.raises(OSError, match="a cable"):
        try:
            interrupted()
        except TimeoutError:
            raise shared  # noqa: B904  # its context is what matters
    assert isinstance(shared.__context__, Late)

    def other() -> BaseException | None:
        try:
            raise shared
        except OSError as error:
            return raised_by_handler(error)

    assert started(other).result(60) is None


def test_failover_no_tier_has_failed_by_what_a_handler_raised(handled: Callable[[Any], Any]) -> None:
    handled(function)
    space, guard = Space("n", MemoryTier(), PLAIN), Guard(MemoryTier(name="cache"))
    space.enter(1)
    guard.tier.get = guard.tier.get_many = lambda *_: interrupted()  # type: ignore[method-assign,assignment,return-value]
    guard.tier.put_many = lambda *_, **__: interrupted()  # type: ignore[method-assign,assignment,return-value]
    for call in (
        lambda: guard.get(space, "k"),
        lambda: guard.get_many(space, ["k"]),
        lambda: guard.put("n", 1, [("k", value("k").seal(1))], 0.0, tell=True),
        lambda: guard.attempt("probe", interrupted),
    ):
        with pytest.raises(Late):
            call()
    assert guard.breaker.closed and not sum(guard.stats.errors.values())


def looking(store: TieredBackend, pool: str, monkeypatch: pytest.MonkeyPatch, replaced: Callable[[], Any]) -> None:
    """The next read asks `replaced` whether the file is still there: one that finds a connection, or one that opens it."""
    readers = store._core.chain.record._readers  # type: ignore[attr-defined]
    if pool == "empty":
        readers._close_idle()
    monkeypatch.setattr(readers, "_look_at", inf if pool == "empty" else 0.0)
    monkeypatch.setattr(readers._database, "replaced", replaced)


@pytest.mark.parametrize("pool", ["idle", "empty"])
def test_a_look_at_a_file_that_a_handler_broke_off_is_none_of_the_files_failures(
    handled: Callable[[Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: str
) -> None:
    handled(function)
    with TieredBackend([FileTier(tmp_path)]) as store:
        looking(store, pool, monkeypatch, interrupted)
        with pytest.raises(Late):
            store.get("k")


@pytest.mark.parametrize("step", ["take", "release"])
def test_a_lease_on_a_file_that_a_handler_broke_off_is_none_of_the_files_failures(
    handled: Callable[[Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    handled(function)
    leases = FileLeases(tmp_path, "file")
    if step == "take":
        monkeypatch.setattr(leases, "_lock", lambda *_: interrupted())
        with pytest.raises(Late):
            leases.take("n", "k", "token", 1.0)
    else:
        assert leases.take("n", "k", "token", 1.0)
        monkeypatch.setattr(os, "ftruncate", lambda *_: interrupted())
        with pytest.raises(Late):
            leases.release("n", "k", "token")
    monkeypatch.undo()
    assert leases.take("n", "k", "another", 1.0)


def test_a_name_that_a_handler_broke_off_is_not_taken_as_it_was(handled: Callable[[Any], Any]) -> None:
    handled(function)
    names = Names()
    assert (known := names.addresses("localhost", 60))
    names._ask = lambda *_: interrupted()  # type: ignore[method-assign]
    with pytest.raises(Late):
        names.addresses("localhost", 60)
    names._ask = lambda *_: None  # type: ignore[method-assign]
    assert names.addresses("localhost", 60) == known


@pytest.mark.parametrize("pool", ["idle", "empty"])
def test_a_look_at_a_file_that_fails_is_a_typed_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: str
) -> None:
    def failing() -> None:
        raise OSError(errno.EIO, "the disk")

    with TieredBackend([FileTier(tmp_path)]) as store:
        looking(store, pool, monkeypatch, failing)
        with pytest.raises(StoreUnavailable, match="the disk"):
            store.get("k")


def test_a_greeting_that_a_handler_broke_off_is_not_repeated_on_another_connection(
    handled: Callable[[Any], Any], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reset(ConnectionResetError):
        """A handler may raise what looks like a dead connection."""

    def reset(number: int, frame: Any) -> None:
        raise Reset

    handled(reset)
    tier = RedisTier(redis_url, timeout=5, connect_timeout=5)
    pool = tier._link.pool  # type: ignore[union-attr]
    try:
        tier.get("n:1", "k")
        pool.idle[-1].believed_until = 0.0

        def broken_off(_: Any) -> None:
            monkeypatch.undo()
            interrupted()

        monkeypatch.setattr(pool, "greet", broken_off)
        with pytest.raises(Reset):
            tier.get("n:1", "k")
        assert not pool.opened and tier.get("n:1", "k") is None
    finally:
        tier.close()


def test_who_has_joined_a_read_that_a_handler_broke_off_reads_for_himself(
    handled: Callable[[Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handled(function)
    with TieredBackend([FileTier(tmp_path)]) as store:
        store.set("k", "value")
        store._core.chain.memory.empty(store._core.space.part)
        record, leaders = store._core.chain.record, store._core.space.flights.leaders
        read = record.read

        def broken_off(*arguments: Any) -> Any:
            monkeypatch.undo()
            follower.append(started(lambda: store.get("k")))
            eventually(lambda: leaders["k"].done is not None)
            interrupted()

        follower: list[Future[Any]] = []
        monkeypatch.setattr(record, "read", broken_off)
        with pytest.raises(Late):
            store.get("k")
        assert record.read == read and follower[0].result(60) == "value"


def test_who_waits_for_a_load_that_a_handler_broke_off_loads_for_himself(
    handled: Callable[[Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handled(function)
    with TieredBackend([FileTier(tmp_path)]) as store:
        store.set("other", "value")
        record, follower = store._core.chain.record, list[Future[Any]]()
        read, stats = record.read, store._core.space.stats

        def broken_off(namespace: str, key: str) -> Any:
            if "k" not in store._core.space.loads or follower:
                return read(namespace, key)
            follower.append(started(lambda: store.get_or_set("k", lambda: "loaded", ttl=60)))
            eventually(lambda: stats.joined)
            interrupted()

        monkeypatch.setattr(record, "read", broken_off)
        with pytest.raises(Late):
            store.get_or_set("k", lambda: "not loaded", ttl=60)
        assert follower[0].result(60) == "loaded"


def test_a_time_limit_of_a_loader_is_its_failure_and_not_its_callers(
    handled: Callable[[Any], Any], tmp_path: Path
) -> None:
    handled(function)
    with TieredBackend([FileTier(tmp_path)], clock=(clock := HandClock())) as store:
        store.get_or_set("k", lambda: "old", ttl=10, stale_ttl=100)
        clock.advance(20)
        assert store.get_or_set("k", interrupted, ttl=10, stale_ttl=100) == "old"


def test_a_read_that_is_interrupted_at_any_line_before_it_locks_keeps_nobody_waiting(tmp_path: Path) -> None:
    code = Reader.read.__code__
    lines, first = inspect.getsourcelines(Reader.read)
    last = first + next(number for number, line in enumerate(lines) if "with " in line)

    def interrupting(at: int) -> Callable[..., Any]:
        def trace(frame: FrameType, event: str, _: Any) -> Any:
            if event == "line" and frame.f_lineno == at:
                raise KeyboardInterrupt
            return trace if frame.f_code is code else None

        return trace

    with TieredBackend([FileTier(tmp_path)]) as store:
        store.set("k", "value")
        before, interrupted = sys.gettrace(), 0
        for at in range(first, last):
            store._core.chain.memory.empty(store._core.space.part)
            sys.settrace(interrupting(at))
            try:
                assert store.get("k") == "value"
            except KeyboardInterrupt:
                interrupted += 1
            finally:
                sys.settrace(before)
            assert not store._core.space.flights.leaders, f"line {at - first}"
        assert interrupted >= 4
