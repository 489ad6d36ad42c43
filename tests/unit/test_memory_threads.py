"""Eight threads that the interpreter switches all the time, through the backend: nothing old, and the books balance."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tiered import FileTier, MemoryTier, TieredBackend

THREADS, STEPS, OWN, ENTRIES = 8, 2500, 6, 20


@pytest.fixture(autouse=True)
def tiny_switch_interval() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


class Worker(threading.Thread):
    """The only writer of its own keys, and a reader of everybody's."""

    started_clears = ended_clears = 0
    counting = threading.Lock()

    def __init__(self, store: TieredBackend, number: int, *, durable: bool) -> None:
        super().__init__(daemon=True)
        self.store, self.number, self.durable = store, number, durable
        self.random = random.Random(number)
        self.acknowledged: dict[str, tuple[int, list[str]]] = {}
        self.ended_before: dict[str, int] = {}
        self.versions: dict[str, int] = {}
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            for step in range(STEPS):
                self.step(step)
        except BaseException as error:
            self.failure = error

    def step(self, step: int) -> None:
        key = f"{self.number}:{self.random.randrange(OWN)}"
        chance = self.random.random()
        if chance < 0.3:
            self.ended_before[key] = Worker.ended_clears
            value = (step, [key])
            self.store.set(key, value)
            self.acknowledged[key] = value
        elif chance < 0.35:
            self.store.delete(key)
            self.acknowledged.pop(key, None)
        elif chance < 0.353:
            self.clear()
        elif chance < 0.6:
            self.check_own(key, self.store.get(key))
        elif chance < 0.7:
            keys = [f"{self.number}:{n}" for n in range(OWN)]
            found = self.store.get_many(keys)
            for each in keys:
                self.check_own(each, found.get(each))
        else:
            self.look_at(f"{self.random.randrange(THREADS)}:{self.random.randrange(OWN)}")

    def clear(self) -> None:
        with Worker.counting:
            Worker.started_clears += 1
        self.store.clear()
        with Worker.counting:
            Worker.ended_clears += 1

    def check_own(self, key: str, found: object) -> None:
        """The last acknowledged value; or nothing, if a clear (or, without a tier below, an eviction) came after it."""
        acknowledged = self.acknowledged.get(key)
        if found is None and acknowledged is not None:
            cleared = Worker.started_clears > self.ended_before[key]
            assert cleared or not self.durable, f"{key} is lost"
            del self.acknowledged[key]
        else:
            assert found == acknowledged, f"{key}: {found} instead of {acknowledged}"

    def look_at(self, key: str) -> None:
        """Somebody's key: whole, and never an older version than this thread has seen."""
        found = self.store.lookup(key)
        if found.found:
            assert found.value[1] == [key]
            assert found.version >= self.versions.get(key, 0), f"{key} went back"
            self.versions[key] = found.version


@pytest.mark.parametrize("durable", [True, False], ids=["memory → file", "memory alone"])
def test_threads_lose_nothing_see_nothing_old_and_leave_the_books_balanced(tmp_path: Path, durable: bool) -> None:
    memory = MemoryTier(max_entries=ENTRIES, max_bytes=ENTRIES * 600)
    tiers = [memory, FileTier(tmp_path, sync="normal")] if durable else [memory]
    with TieredBackend(tiers, shared=False) as store:
        workers = [Worker(store, number, durable=durable) for number in range(THREADS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert [worker.failure for worker in workers if worker.failure is not None] == []
        assert memory.evictions > 0
        with memory.lock:
            parts = list(memory._partitions.values())
            assert memory.entries == sum(len(part.slots) for part in parts if part.of is None)
            assert memory.bytes == sum(part.bytes for part in parts)
            for part in parts:
                while len(part.policy):
                    assert part.policy.evict() in part.slots
        assert memory.entries <= ENTRIES and memory.bytes <= ENTRIES * 600
        flights = store._core.space.flights
        assert flights.leaders == {} and store._core.space.loads == {}
