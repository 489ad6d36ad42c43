"""What happens to a value, a frame or a counter while a write is on its way: nothing of it may be seen afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.servers import RedisServer
from tests.waiting import LIMIT, eventually, started
from tiered import AsyncTieredBackend, FileTier, MemoryTier, RedisTier, TieredBackend
from tiered.tiers.base import Commit, Write

STOPPED = """
import os, signal, sys, time
from tiered import FileTier, MemoryTier, RedisTier, TieredBackend

class Stopped(RedisTier):
    def put_many(self, scope, items, **more):
        if any(key == "k" for key, _ in items):
            os.kill(os.getpid(), signal.SIGSTOP)
        return super().put_many(scope, items, **more)

with TieredBackend([MemoryTier(), Stopped(sys.argv[1], timeout=1, max_ttl=3), FileTier(sys.argv[2])]) as store:
    store.set("other", 1)
    store.set("k", "old")
    print("done", flush=True)
    time.sleep(60)
"""
"""A process that is stopped between its commit and its put."""


class Gated(FileTier):
    """Commits when it is let."""

    gate: threading.Event | None = None

    def commit(self, namespace: str, writes: Sequence[Write], *, marks: Sequence[str] = (), now: int) -> Commit:
        if self.gate is not None:
            assert self.gate.wait(LIMIT)
        return super().commit(namespace, writes, marks=marks, now=now)


@pytest.fixture
def file(tmp_path: Path) -> Gated:
    return Gated(tmp_path / "data", shared=False)


@pytest.fixture
def store(file: Gated) -> Iterator[TieredBackend]:
    with TieredBackend([MemoryTier(), file], shared=False) as it:
        it.get("warm")
        yield it


def flat() -> dict[str, Any]:
    return {"coins": 1}


def change_flat(value: dict[str, Any]) -> None:
    value["coins"] = 2


def nested() -> dict[str, Any]:
    return {"coins": 1, "items": ["sword"]}


def flatten(value: dict[str, Any]) -> None:
    value["items"] = "none"


CHANGES = [pytest.param(flat, change_flat, id="flat"), pytest.param(nested, flatten, id="nested, then flat")]


@pytest.mark.parametrize(("make", "change"), CHANGES)
def test_a_dict_that_changes_while_it_is_written_is_stored_as_it_was(
    store: TieredBackend, file: Gated, make: Callable[[], dict[str, Any]], change: Callable[[dict[str, Any]], None]
) -> None:
    """By a thread, by a task, and by what `update`, `set_many` and a loader are given."""
    values = [make() for _ in range(6)]

    async def tasks() -> None:
        them = AsyncTieredBackend.over(store)
        calls = [
            asyncio.create_task(them.set("set", values[0])),
            asyncio.create_task(them.set_many({"many": values[1]})),
            asyncio.create_task(them.update("update", lambda _: values[2])),
            asyncio.create_task(them.add("add", values[3])),
        ]
        await asyncio.sleep(0.05)  # `update` reads before it writes
        for value in values:
            change(value)
        assert file.gate is not None
        file.gate.set()
        await asyncio.gather(*calls)

    file.gate = threading.Event()
    threads = [
        started(lambda: store.set("thread", values[4])),
        started(lambda: store.get_or_set("loaded", lambda: values[5])),
    ]
    time.sleep(0.05)
    asyncio.run(tasks())
    for thread in threads:
        thread.result(LIMIT)
    assert [store.get(key) for key in ("set", "many", "update", "add", "thread", "loaded")] == [make()] * 6
    assert all(value == make() for _, value in store.items())
    assert store.verify().ok


@pytest.mark.parametrize("prefix", ["bot", "bot-é", "日本", "ключ"])
def test_staleness_what_another_process_writes_is_heard_whatever_the_prefix(
    redis_server: RedisServer, tmp_path: Path, prefix: str
) -> None:
    def chain() -> TieredBackend:
        return TieredBackend([MemoryTier(), RedisTier(redis_server.url, prefix=prefix), FileTier(tmp_path)])

    with chain() as a, chain() as b:
        a.set("k", 1)
        eventually(lambda: b.get("k") == 1 and b._core.space.subscribed, "a subscription")
        eventually(lambda: b.lookup("k").tier == "memory", "the key in memory")
        a.set("k", 2)
        a.set("other", 1)  # with which the mark is confirmed, so only the message tells
        eventually(lambda: b.get("k") == 2, "what the other one wrote")
        assert b._core.chain.coherence_stats.applied


@pytest.mark.faults
def test_coherence_a_put_that_was_stopped_for_long_brings_nothing_back(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """What would refuse it lives as long as `max_ttl`; the put may take half of that, however long the timeouts are."""
    options = {"timeout": 1, "max_ttl": 3}
    command = [sys.executable, "-c", STOPPED, redis_server.url, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            with TieredBackend([MemoryTier(), RedisTier(redis_server.url, **options), FileTier(tmp_path)]) as store:  # type: ignore[arg-type]
                eventually(lambda: "\nState:\tT" in Path(f"/proc/{process.pid}/status").read_text(), "its stop")
                assert store.get("k") == "old" and store.delete("k") and store.get("k") is None
                guard, space = store._core.chain.guards[0], store._core.space
                eventually(lambda: guard.tier.get(space.scope, "k") is None, "the end of the tombstone")
                os.kill(process.pid, signal.SIGCONT)
                assert process.stdout is not None and process.stdout.readline() == "done\n"
                assert store.get("k") is None and guard.tier.get(space.scope, "k") is None
        finally:
            process.kill()


def test_a_write_that_ends_during_a_read_is_no_sign_of_tampering(redis_server: RedisServer, tmp_path: Path) -> None:
    answered, go = threading.Event(), threading.Event()

    class Slow(RedisTier):
        def get_many(self, scope: str, keys: Sequence[str]) -> list[bytes | None]:
            frames = super().get_many(scope, keys)
            answered.set()
            assert go.wait(LIMIT)
            return frames

    file = Gated(tmp_path)
    with TieredBackend([MemoryTier(), Slow(redis_server.url), file]) as store:
        store.set_many({"k": 1, "l": 1})
        eventually(lambda: store._core.space.subscribed, "a subscription")
        store._core.chain.memory.forget_all()
        file.gate = threading.Event()
        writing = started(lambda: store.set("k", 2))
        time.sleep(0.01)  # it has begun before the read does
        reading = started(lambda: store.get_many(["k", "l"]))
        assert answered.wait(LIMIT)
        file.gate.set()
        writing.result(LIMIT)
        go.set()
        assert reading.result(LIMIT) == {"k": 2, "l": 1}
        assert store._core.chain.guards[0].stats.corrupt == 0


def test_a_loop_that_ends_fails_nobody_elses_load(store: TieredBackend) -> None:
    begun = threading.Event()

    async def slow() -> None:
        begun.set()
        await asyncio.sleep(LIMIT)

    async def bot() -> None:
        await AsyncTieredBackend.over(store).get_or_set("k", slow, ttl=60, refresh_ahead=59)
        while not store._core.stats.joined:  # until somebody waits for what runs in this loop
            await asyncio.sleep(0.001)

    store.set("k", "old", ttl=0.3)
    threading.Thread(target=asyncio.run, args=(bot(),)).start()
    assert begun.wait(LIMIT)
    eventually(lambda: store.get("k") is None, "the end of the value")
    assert store.get_or_set("k", lambda: "mine", ttl=60) == "mine"
    assert store._core.stats.refresh_errors == 1


def test_a_ttl_is_never_below_zero(store: TieredBackend) -> None:
    for _ in range(20):
        store.set("k", 1, ttl=0.002)
        while (left := store.ttl("k")) is not None:
            assert left > 0
