"""The storage of docs/bots.md in aiogram itself: what the page promises of it."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvloop
from aiogram import Bot, Dispatcher, Router
from aiogram.fsm.storage.base import StorageKey
from aiogram.types import Chat, Message, Update, User

from tests.bots import pasted
from tests.servers import RedisServer
from tiered import AsyncTieredBackend, InvalidValue, StoreUnavailable

PAGE = pasted("aiogram_bot")
KEY = StorageKey(bot_id=42, chat_id=1, user_id=2)
BOT = Bot("42:" + "A" * 35)


def update(user: int, text: str) -> Update:
    chat, sender = Chat(id=user, type="private"), User(id=user, is_bot=False, first_name="U")
    return Update(
        update_id=1, message=Message(message_id=1, date=datetime.now(UTC), chat=chat, from_user=sender, text=text)
    )


def test_absence_state_and_data(tmp_path: Path) -> None:
    async def use() -> None:
        async with AsyncTieredBackend.from_url(f"memory://,file:{tmp_path}") as store:
            storage = PAGE.TieredStorage(store, ttl=60)
            assert await storage.get_state(KEY) is None and await storage.get_data(KEY) == {}
            await storage.set_state(KEY, PAGE.Form.name)
            assert await storage.update_data(KEY, {"a": 1}) == {"a": 1}
            assert await storage.get_state(KEY) == "Form:name" and await storage.get_value(KEY, "a") == 1
            for name in [name async for name, _ in store.items()]:
                assert 0 < await store.ttl(name) <= 60
            (await storage.get_data(KEY))["a"] = 2
            assert await storage.get_data(KEY) == {"a": 1}
            with pytest.raises(InvalidValue, match="register its class"):
                await storage.update_data(KEY, {"user": User(id=1, is_bot=False, first_name="U")})
            await storage.set_data(KEY, {})
            await storage.set_state(KEY, None)
            assert [name async for name, _ in store.items()] == []

    asyncio.run(use())


def test_no_two_conversations_share_a_key(tmp_path: Path) -> None:
    other: dict[str, Any] = {"thread_id": 3, "business_connection_id": "b", "destiny": "2:default"}
    for field in dataclasses.fields(StorageKey):
        other.setdefault(field.name, 7)
    keys = [KEY, *(dataclasses.replace(KEY, **{name: value}) for name, value in other.items())]
    keys += [StorageKey(42, 1, 2, destiny="3:default"), StorageKey(42, 1, 3, thread_id=2)]

    async def use() -> None:
        async with AsyncTieredBackend.from_url(f"memory://,file:{tmp_path}") as store:
            storage = PAGE.TieredStorage(store)
            for number, key in enumerate(keys):
                await storage.set_data(key, {"number": number})
                await storage.set_state(key, str(number))
            assert [await storage.get_data(key) for key in keys] == [{"number": n} for n in range(len(keys))]
            assert [await storage.get_state(key) for key in keys] == [str(n) for n in range(len(keys))]

    asyncio.run(use())


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_no_field_is_lost_by_tasks_of_one_user_by_cancelling_or_by_an_outage(
    tmp_path: Path, redis_server: RedisServer, run: Callable[[Awaitable[None]], None]
) -> None:
    """aiogram's own `update_data` reads, merges and writes; several at once lose (aiogram#374)."""

    async def use() -> None:
        async with AsyncTieredBackend.from_url(f"memory://,{redis_server.url},file:{tmp_path}") as store:
            router, kept = Router(), set()
            dispatcher = Dispatcher(storage=PAGE.TieredStorage(store))  # nothing isolates
            dispatcher.include_router(router)

            @router.message()
            async def merge(message: Message, state: Any) -> None:
                await state.update_data({str(message.text): 1})
                assert message.from_user
                kept.add((message.from_user.id, message.text))

            async def storm(name: str) -> None:
                said = [(user, f"{name}{n}") for user in range(10) for n in range(5)]
                tasks = [asyncio.create_task(dispatcher.feed_update(BOT, update(*it))) for it in said]
                await asyncio.sleep(0.002)
                random.choice(tasks).cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
                assert [it for it in results if isinstance(it, Exception)] == []

            await storm("before")
            redis_server.kill()
            await storm("without")
            redis_server.start()
            await storm("with it")
            while (await store.health())["redis"]["breaker"] != "closed":
                await storm("again")
            contexts = {user: dispatcher.fsm.get_context(BOT, user, user) for user, _ in kept}
            there = {(user, text) for user, it in contexts.items() for text in await it.get_data()}
            assert kept <= there
            assert len(kept) >= 3 * 49
            await store.replay()
            assert (await store.verify()).converged

    run(use())


def test_one_handler_at_a_time_for_each_user_and_no_lock_is_kept() -> None:
    async def use() -> None:
        isolation, inside, most = PAGE.OneAtATime(), 0, 0

        async def handle(key: StorageKey) -> None:
            nonlocal inside, most
            async with isolation.lock(key):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1

        await asyncio.gather(*(handle(KEY) for _ in range(10)))
        assert most == 1
        await asyncio.gather(*(handle(StorageKey(42, 1, user)) for user in range(10)))
        assert most == 10 and len(isolation.locks) == 0 == len(isolation.tasks)
        await isolation.close()

    asyncio.run(use())


def test_a_record_that_cannot_be_asked_is_no_absent_state(redis_server: RedisServer) -> None:
    async def use() -> None:
        async with AsyncTieredBackend.from_url(redis_server.url) as store:
            storage = PAGE.TieredStorage(store)
            await storage.set_state(KEY, "Form:name")
            redis_server.kill()
            for ask in (storage.get_state, storage.get_data):
                with pytest.raises(StoreUnavailable):
                    await ask(KEY)

    asyncio.run(use())


@pytest.mark.parametrize("cache", ["{redis},", ""])
def test_without_memory_another_process_sees_a_state_at_once(
    tmp_path: Path, redis_server: RedisServer, cache: str
) -> None:
    url = f"{cache.format(redis=redis_server.url)}file:{tmp_path}"

    async def use() -> None:
        async with AsyncTieredBackend.from_url(url) as one, AsyncTieredBackend.from_url(url) as other:
            for number in range(50):
                await PAGE.TieredStorage(one).set_state(KEY, str(number))
                assert await PAGE.TieredStorage(other).get_state(KEY) == str(number)

    asyncio.run(use())
