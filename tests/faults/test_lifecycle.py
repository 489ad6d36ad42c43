"""Forks, signals, closing: nothing hangs, nothing is shared that must not be, nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import pytest

from tests.servers import RedisServer
from tiered import FileTier, MemoryTier, RedisTier, TieredBackend, TieredError

pytestmark = pytest.mark.faults


def chain(server: RedisServer, directory: Path) -> TieredBackend:
    return TieredBackend([MemoryTier(), RedisTier(server.url), FileTier(directory)])


def eventually_from_redis(store: TieredBackend) -> None:
    deadline = time.monotonic() + 30
    while store.health()["redis"]["owed"] or store.lookup("k").tier == "file":
        assert time.monotonic() < deadline
        store._core.chain.memory.forget_all()
        time.sleep(0.01)
    assert store.lookup("k").tier in ("redis", "memory")


def in_child(work: object) -> int:
    """The exit code of a forked child that runs `work`; 1 if it raises."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()  # type: ignore[operator]  # a function
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_store_built_in_the_parent_works_in_its_children(tmp_path: Path, redis_server: RedisServer) -> None:
    with chain(redis_server, tmp_path) as store:
        store.set("k", "parent")
        assert store.get("k") == "parent"

        def work() -> None:
            assert store.stats()["namespace"]["memory_hits"] == 0
            assert not store._core.space.part.slots  # nothing that could be old
            eventually_from_redis(store)  # what the parent had not confirmed yet is owed at first
            assert store.set("child", os.getpid()).tiers["redis"] == "ok"
            assert store.increment("n") > 0
            assert {thread.name for thread in threading.enumerate()} >= {"tiered-keeper", "tiered-coherence"}
            store.close()

        assert [in_child(work) for _ in range(5)] == [0] * 5
        assert store.get("n") == 5 and store.get("k") == "parent"
        assert store.set("k", "after").tiers["redis"] == "ok"


def test_children_that_are_forked_under_load_do_not_hang(tmp_path: Path, redis_server: RedisServer) -> None:
    with chain(redis_server, tmp_path) as store:
        stop = threading.Event()

        def load(name: str) -> None:
            n = 0
            while not stop.is_set():
                n += 1
                store.set(f"{name}{n % 50}", n)
                store.get(f"{name}{(n * 7) % 50}")

        threads = [threading.Thread(target=load, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        try:

            def work() -> None:
                for n in range(20):
                    store.set(f"child{n}", n)
                    assert store.get(f"child{n}") == n

            assert [in_child(work) for _ in range(10)] == [0] * 10
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def test_close_leaves_no_thread_and_no_descriptor(tmp_path: Path, redis_server: RedisServer) -> None:
    def use() -> None:
        with chain(redis_server, tmp_path) as store:
            store.set("k", 1)
            store.namespace("other").set("k", 2)
            assert store.get("missing") is None

    use()  # what is loaded once
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        use()
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) <= descriptors


def test_a_closed_store_says_so(tmp_path: Path, redis_server: RedisServer) -> None:
    store = chain(redis_server, tmp_path)
    store.set("k", 1)
    store.close()
    store.close()
    for call in (
        lambda: store.get("k"),
        lambda: store.set("k", 2),
        lambda: store.delete("k"),
        lambda: list(store.keys()),
    ):
        with pytest.raises(TieredError, match="closed"):
            call()


SIGTERM = """
import signal, sys, time
from tiered import TieredBackend
store = TieredBackend.from_url(sys.argv[1])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
n = 0
store.set("n", 0)
print("up", flush=True)
try:
    while True:
        n += 1
        store.set("n", n)
        print(n, flush=True)
"""


@pytest.mark.parametrize("closes", [False, True])
def test_sigterm_ends_at_once_and_loses_nothing(tmp_path: Path, redis_server: RedisServer, closes: bool) -> None:
    url = f"memory://,{redis_server.url},file://{tmp_path}/data"
    code = SIGTERM + "finally:\n    store.close()\n" if closes else SIGTERM + "finally:\n    pass\n"
    with subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        told = [int(line) for line in process.stdout.read().split()]
        assert process.wait(timeout=60) == 7
    with TieredBackend.from_url(url) as store:
        assert store.get("n") >= told[-1]
