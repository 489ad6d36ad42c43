"""Everything at once: what one caller does to the store must not lose, tear, hang or bring back anything for the others."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers import RedisServer
from tests.waiting import eventually
from tiered import FileTier, MemoryTier, RedisTier, TieredBackend, TieredError
from tiered.testing.chaos import FaultyRecord

pytestmark = pytest.mark.faults

Work = Callable[[int, int], object]


@contextmanager
def busy(threads: int, work: Work) -> Iterator[list[BaseException]]:
    """`work(thread, step)` in threads until the block is over; their errors, which end each of them."""
    stop, errors, steps = threading.Event(), list[BaseException](), [0] * threads

    def run(number: int) -> None:
        try:
            while not stop.is_set():
                work(number, steps[number])
                steps[number] += 1
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(threads)]
    for worker in workers:
        worker.start()
    eventually(lambda: all(steps) or bool(errors), "every thread has begun")
    try:
        yield errors
    finally:
        stop.set()
        for worker in workers:
            worker.join(60)
    assert not any(worker.is_alive() for worker in workers), "a call hangs"


# Opening

OPEN = """
import sys
from tiered import TieredBackend
sys.stdin.readline()
with TieredBackend.from_url(f"memory://,file:{sys.argv[1]}") as store:
    store.set(sys.argv[2], 1)
    store.increment("n")
"""


def test_processes_that_make_one_directory_at_the_same_moment_all_get_the_same_store(tmp_path: Path) -> None:
    for attempt in range(4):
        directory = str(tmp_path / f"data{attempt}")
        openers = [
            subprocess.Popen(
                [sys.executable, "-W", "error", "-c", OPEN, directory, f"k{number}"],
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number in range(6)
        ]
        for opener in openers:  # all have imported by now, or will be late, which is as good
            assert opener.stdin is not None
            opener.stdin.write("go\n")
            opener.stdin.flush()
        told = [opener.communicate(timeout=120)[1] for opener in openers]
        assert told == [""] * 6
        with TieredBackend.from_url(f"file:{directory}") as store:
            assert store.get_many([f"k{number}" for number in range(6)]) == {f"k{number}": 1 for number in range(6)}
            assert store.get("n") == 6


# Backups


def test_a_backup_during_writes_is_one_moment_of_the_store(tmp_path: Path) -> None:
    """Of a pair that is always written together the copy has both or neither, and it is as new as its beginning."""
    with TieredBackend([MemoryTier(), FileTier(tmp_path / "data", sync="normal")]) as store:
        acknowledged = [0] * 4

        def write(number: int, step: int) -> None:
            store.set_many({f"left{number}": step, f"right{number}": step, f"log{number}:{step % 500}": "x" * 500})
            acknowledged[number] = step

        with busy(4, write) as errors:
            for copy in range(5):
                before = list(acknowledged)
                store.backup(tmp_path / f"copy{copy}")
                after = list(acknowledged)
                restored = tmp_path / f"restored{copy}"
                restored.mkdir()
                (tmp_path / f"copy{copy}").rename(restored / "tiered.sqlite3")
                with TieredBackend([FileTier(restored)]) as copied:
                    for number in range(4):
                        left, right = copied.get(f"left{number}"), copied.get(f"right{number}")
                        assert left == right and before[number] <= left <= after[number] + 1
        assert errors == []


# Clearing


def test_a_clear_during_everything_brings_nothing_back_and_loses_nothing_written_after_it(
    redis_url: str, tmp_path: Path
) -> None:
    """Thread 0 clears; what it then knows to be gone must stay so, and what it writes next must stay."""
    tiers = [MemoryTier(max_entries=50), RedisTier(redis_url, timeout=5.0), FileTier(tmp_path, sync="normal")]
    with TieredBackend(tiers) as store:
        kept = store.namespace("kept")
        kept.set("k", "kept")

        def work(number: int, step: int) -> None:
            rng = random.Random(f"{number} {step}")
            if number == 0:
                store.set("mine", step)
                store.clear()
                assert store.get("mine") is None and store.get_many(["mine"]) == {}
                store.set("mine", step + 1)
                assert store.get("mine") == step + 1
                return
            key = f"k{rng.randrange(30)}"
            match rng.randrange(6):
                case 0:
                    store.set(key, [key])
                case 1:
                    store.delete(key)
                case 2:
                    store.update(key, lambda _: [key])
                case 3:
                    assert store.get_or_set(key, lambda: [key], 60) == [key]
                case 4:
                    assert all(value == [name] for name, value in store.items("k"))
                case _:
                    assert store.get(key) in (None, [key])

        with busy(5, work) as errors:
            time.sleep(2)
        assert errors == [] and kept.get("k") == "kept"
        store.clear()
        assert list(store.keys()) == [] and store.get_many([f"k{n}" for n in range(30)]) == {}


# Closing


CALLS: list[Callable[[TieredBackend], object]] = [
    lambda store: store.get("k1"),
    lambda store: store.lookup("own1"),
    lambda store: store.ttl("k1"),
    lambda store: "k1" in store,
    lambda store: store.get_many(["k1", "own1"]),
    lambda store: store.set("k1", 1),
    lambda store: store.add("k1", 1),
    lambda store: store.set_many({"k1": 1}),
    lambda store: store.delete("k1"),
    lambda store: store.touch("k1", 5),
    lambda store: store.increment("n"),
    lambda store: store.update("k1", lambda value: value),
    lambda store: store.get_or_set("k1", lambda: 1),
    lambda store: list(store.keys()),
    lambda store: list(store.items()),
    lambda store: store.namespace("other").get("k1"),
]


def close_while_used(store: TieredBackend, acknowledged: dict[str, int]) -> list[BaseException]:
    """Close it under threads that use it, and see that no call is answered any more; what the threads were told."""

    def work(number: int, step: int) -> None:
        CALLS[step % len(CALLS)](store)
        store.set(f"own{number}", step)
        acknowledged[f"own{number}"] = step

    with busy(6, work) as errors:
        store.close()
        for _ in range(20):  # the threads are still ending
            for call in CALLS:
                with pytest.raises(TieredError, match="closed"):
                    call(store)
    for call in CALLS:
        with pytest.raises(TieredError, match="closed"):
            call(store)
    return errors


class Slow(FaultyRecord):
    """A store of record that answers the next read late: after `meanwhile`."""

    meanwhile: Callable[[], object] | None = None

    def read(self, namespace: str, key: str) -> tuple[int, bytes | None]:
        found = super().read(namespace, key)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return found


def test_a_read_that_ends_after_the_store_was_closed_leaves_nothing_that_would_still_be_answered(
    tmp_path: Path,
) -> None:
    record = Slow(FileTier(tmp_path))
    with TieredBackend([MemoryTier(), record], shared=False) as store:
        store.set("k", 1)
        with store._core.chain.memory.lock:
            store._core.chain.memory.drop(store._core.space.part, "k")
        record.meanwhile = store.close
        assert store.get("k") == 1  # it began before
        with pytest.raises(TieredError, match="closed"):
            store.get("k")


@pytest.mark.parametrize("with_redis", [False, True], ids=["memory → file", "memory → redis → file"])
def test_a_store_that_is_closed_while_it_is_used_ends_every_call_and_answers_none_after(
    with_redis: bool, redis_url: str, tmp_path: Path
) -> None:
    for attempt in range(10):
        directory, acknowledged = tmp_path / f"{attempt}", dict[str, int]()
        far = [RedisTier(redis_url, timeout=5.0, prefix=f"closing{attempt}")] if with_redis else []
        store = TieredBackend([MemoryTier(), *far, FileTier(directory, sync="normal")])
        errors = close_while_used(store, acknowledged)
        assert [it for it in errors if not isinstance(it, TieredError) or "closed" not in str(it)] == []
        with TieredBackend([FileTier(directory)]) as again:
            for key, step in acknowledged.items():
                assert again.get(key) in (step, step + 1)


# Functions that use the store themselves


def test_a_fn_or_a_loader_that_closes_the_store_is_told(tmp_path: Path) -> None:
    calls: list[Callable[[TieredBackend], object]] = [
        lambda store: store.update("k", lambda value: store.close() or 2),
        lambda store: store.get_or_set("absent", lambda: store.close() or 2),
        lambda store: [store.close() for _ in store.items()],
    ]
    for number, call in enumerate(calls):
        store = TieredBackend([MemoryTier(), FileTier(tmp_path / f"{number}")])
        store.set_many({f"k{n}": 1 for n in range(1000)} | {"k": 1})
        with pytest.raises(TieredError, match="closed"):
            call(store)
        with TieredBackend([FileTier(tmp_path / f"{number}")]) as again:
            assert again.get("k") == 1 and "absent" not in again


# A pool that is too small


def test_threads_that_share_two_connections_wait_or_go_on_without_and_see_nothing_old(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    far = RedisTier(redis_server.url, max_connections=2)
    with TieredBackend([MemoryTier(max_entries=0), far, FileTier(tmp_path, sync="normal")]) as store:

        def work(number: int, step: int) -> None:
            store.set(f"k{number}", step)
            assert store.get(f"k{number}") == step
            assert store.get_many([f"k{number}"]) == {f"k{number}": step}

        with busy(64, work) as errors:
            time.sleep(2)
        assert errors == []
        assert store.health()["redis"]["breaker"] == "closed", "this process' own limit is not the server's failure"
        eventually(lambda: not store.health()["redis"]["owed"], "what could not be put is paid")
        assert len(far._link.pool.opened) <= 2


# Huge values


def test_values_as_large_as_allowed_pass_through_every_tier(redis_url: str, tmp_path: Path) -> None:
    big = {f"k{number}": random.Random(number).randbytes(19 * 2**20) for number in range(3)}
    tiers = [MemoryTier(max_bytes=2**20), RedisTier(redis_url, timeout=60.0, connect_timeout=60.0), FileTier(tmp_path)]
    with TieredBackend(tiers, deadline=120, staleness=120) as store:  # a loaded machine takes long for 57 MB
        assert {tuple(sorted(it.tiers.items())) for it in store.set_many(big).values()} == {
            (("file", "ok"), ("memory", "skipped"), ("redis", "ok"))
        }
        assert store.get_many(big) == big and store.lookup("k0")[1:3] == (big["k0"], "redis")
        assert dict(store.items()) == big
        assert store.update("k0", lambda value: value[:-1]) == big["k0"][:-1] == store.get("k0")
