"""A real Redis that is frozen, killed and restarted under 64 tasks: no call fails, nothing old is read, no task is stuck."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from tests.loops import FACTORIES, Loop, until
from tests.servers import RedisServer
from tiered import AsyncTieredBackend, FileTier, MemoryTier, RedisTier

pytestmark = pytest.mark.faults

TASKS = 64


class Bot:
    """A task with keys of its own, which knows what it was acknowledged."""

    def __init__(self, number: int, store: AsyncTieredBackend) -> None:
        self.keys = [f"u{number}:{n}" for n in range(4)]
        self.store, self.known, self.turns = store, dict[str, Any](), 0

    async def live(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            key = self.keys[self.turns % 4]
            match self.turns % 7:
                case 0 | 1:
                    await self.store.set(key, self.turns)
                    self.known[key] = self.turns
                case 2:
                    await self.store.delete(key)
                    self.known.pop(key, None)
                case 3:
                    await self.load(key)
                case 4:
                    turn = self.turns
                    self.known[key] = await self.store.update(key, lambda _, turn=turn: [turn])  # type: ignore[misc]
                case 5:
                    assert await self.store.get_many(self.keys) == {
                        k: self.known[k] for k in self.keys if k in self.known
                    }
                case _:
                    assert await self.store.get(key, "none") == self.known.get(key, "none")
            self.turns += 1

    async def load(self, key: str) -> None:
        """A loaded value is stored, unless a new generation or a lost lease came in between: then the key stays absent."""
        value = await self.store.get_or_set(key, lambda: f"loaded {self.turns}")
        assert value == self.known.get(key, f"loaded {self.turns}")
        if await self.store.get(key, "none") != "none":
            self.known[key] = value
        else:
            assert key not in self.known


async def turns(bots: list[Bot], tasks: list[asyncio.Task[None]], more: int) -> None:
    """Until every bot has done `more` turns from now on, and none has failed."""
    goals = [bot.turns + more for bot in bots]

    def done() -> bool:
        for task in tasks:
            if task.done():
                task.result()
        return all(bot.turns >= goal for bot, goal in zip(bots, goals, strict=True))

    await until(done, "that all go on")


@pytest.mark.parametrize("kind", sorted(FACTORIES))
def test_failover_under_64_tasks(kind: str, redis_server: RedisServer, tmp_path: Path) -> None:
    async def work() -> None:
        tiers = [MemoryTier(max_entries=50), RedisTier(redis_server.url), FileTier(tmp_path)]
        async with AsyncTieredBackend(tiers, lease_ttl=1.0) as store:
            bots, stop = [Bot(n, store) for n in range(TASKS)], asyncio.Event()
            tasks = [asyncio.ensure_future(bot.live(stop)) for bot in bots]
            try:
                for fault, repair in (("freeze", "thaw"), ("kill", "start"), ("freeze", "thaw")):
                    await turns(bots, tasks, 7)
                    getattr(redis_server, fault)()
                    await turns(bots, tasks, 14)
                    await asyncio.to_thread(getattr(redis_server, repair))
                    await turns(bots, tasks, 7)
                stop.set()
                await asyncio.gather(*tasks)
            finally:
                stop.set()
                await asyncio.gather(*tasks, return_exceptions=True)
            redis = store._store._core.chain.guards[0]
            await until(lambda: redis.breaker.closed and not redis.owed, "that Redis has what it missed")
            for bot in bots:
                assert await store.get_many(bot.keys) == bot.known
            report = await store.verify()
            assert report.ok, report.as_dict()

    Loop(kind)(work())


def test_a_call_waits_for_no_more_than_two_batches_while_redis_hangs(redis_server: RedisServer, tmp_path: Path) -> None:
    """The one that is on its way, and its own: then the breaker opens, and Redis costs nothing."""

    async def work() -> None:
        timeout = 0.5
        tiers = [RedisTier(redis_server.url, timeout=timeout, connect_timeout=timeout), FileTier(tmp_path)]
        async with AsyncTieredBackend(tiers, deadline=10.0) as store:
            await store.set_many({f"k{n}": n for n in range(TASKS)})
            assert (await store.lookup("k1")).tier == "redis"
            redis_server.freeze()
            guard = store._store._core.chain.guards[0]
            began = time.monotonic()
            values = await asyncio.gather(*(store.get(f"k{n}") for n in range(TASKS)))
            assert values == list(range(TASKS))
            spent = time.monotonic() - began
            assert guard.stats.errors.total() <= 2
            assert spent < 10 * timeout  # 64 of them one after the other would take 32 seconds
            redis_server.thaw()

    Loop()(work())
