"""The persistence of docs/bots.md in python-telegram-bot itself: what the page promises of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from telegram import InlineKeyboardButton, InlineKeyboardMarkup
from telegram.ext import Application, ApplicationBuilder, CommandHandler, ConversationHandler
from telegram.request import BaseRequest

from tests.bots import pasted
from tests.servers import RedisServer
from tiered import AsyncTieredBackend, InvalidValue, NotApplied, StoreUnavailable, TieredBackend

PAGE = pasted("telegram_bot")


class Offline(BaseRequest):
    read_timeout = 1

    async def initialize(self) -> None: ...

    async def shutdown(self) -> None: ...

    async def do_request(self, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        me = {"id": 42, "is_bot": True, "first_name": "B", "username": "b"}
        return 200, json.dumps({"ok": True, "result": me}).encode()


def application(store: AsyncTieredBackend, **options: Any) -> Application[Any, Any, Any, Any, Any, Any]:
    builder = ApplicationBuilder().token("42:A").request(Offline()).get_updates_request(Offline())
    app = builder.persistence(PAGE.TieredPersistence(store, **options)).arbitrary_callback_data(True).build()
    for name in ("form", "form'", "form':"):
        states: dict[object, list[Any]] = {0: [], 1: [], 2: []}
        app.add_handler(ConversationHandler([CommandHandler("a", PAGE.start)], states, [], name=name, persistent=True))
    return app


def conversations(app: Any) -> list[dict[Any, Any]]:
    return [dict(handler._conversations) for handler in app.handlers[0]]


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A store of record that keeps what it acknowledged when it is killed."""
    server = RedisServer("--appendonly", "yes", "--appendfsync", "always")
    yield server
    server.stop()


def test_all_kinds_come_back_as_what_they_were(tmp_path: Path) -> None:
    async def use() -> None:
        async with AsyncTieredBackend.from_url(f"memory://,file:{tmp_path}") as store:
            app = application(store, ttl=60)
            await app.initialize()
            assert (dict(app.user_data), dict(app.chat_data), app.bot_data) == ({}, {}, {})
            assert conversations(app) == [{}, {}, {}]
            app.user_data[7].update(name="Ada", tags={1, 2}, pair=(1, 2))
            app.user_data[8].clear()
            app.chat_data[-100]["topic"] = "x"
            app.bot_data["total"] = 3
            app.mark_data_for_update_persistence(user_ids=(7, 8), chat_ids=-100)
            keyboard = InlineKeyboardMarkup([[InlineKeyboardButton("b", callback_data=("vote", 1))]])
            app.bot.callback_data_cache.process_keyboard(keyboard)
            callbacks = app.bot.callback_data_cache.persistence_data
            for number, handler in enumerate(app.handlers[0]):
                handler._update_state(number, (7, "inline"))
            states = conversations(app)
            await app.shutdown()
            assert {key async for key, _ in store.items("user:")} == {"user:7"}  # nothing is kept of who has nothing
            assert 0 < await store.ttl("user:7") <= 60 and await store.ttl("bot") > 60

            app = application(store)
            await app.initialize()
            assert app.user_data[7] == {"name": "Ada", "tags": {1, 2}, "pair": (1, 2)}
            assert app.chat_data[-100] == {"topic": "x"} and app.bot_data == {"total": 3}
            assert app.bot.callback_data_cache.persistence_data == callbacks
            assert conversations(app) == states == [{(7, "inline"): number} for number in range(3)]
            app.drop_user_data(7)
            app.drop_chat_data(-100)
            for handler in app.handlers[0]:
                handler._update_state(ConversationHandler.END, (7, "inline"))
            await app.shutdown()
            assert [key async for key, _ in store.items()] == ["bot", "callback"]

    asyncio.run(use())


def test_a_value_that_cannot_be_stored_spoils_nobody_elses_and_is_named(tmp_path: Path) -> None:
    async def use() -> None:
        async with AsyncTieredBackend.from_url(f"file:{tmp_path}") as store:
            app, errors = application(store), []
            await app.initialize()

            async def note(_: object, context: Any) -> None:
                errors.append(context.error)

            app.add_error_handler(note)
            app.user_data[7]["handler"], app.user_data[8]["name"] = object(), "Grace"
            app.mark_data_for_update_persistence(user_ids=(7, 8))
            await app.shutdown()
            assert {key: value async for key, value in store.items("user:")} == {"user:8": {"name": "Grace"}}
            ((error,),) = [error.exceptions for error in errors]
            assert isinstance(error, InvalidValue) and "value['handler']" in str(error)

    asyncio.run(use())


def test_what_the_record_refused_is_written_by_the_next_run_unless_there_is_newer(server: RedisServer) -> None:
    async def use() -> None:
        async with AsyncTieredBackend.from_url(server.url) as store:
            app, errors = application(store), []
            await app.initialize()

            async def note(_: object, context: Any) -> None:
                errors.extend(context.error.exceptions)

            app.add_error_handler(note)
            app.user_data[9]["name"] = "gone"
            app.mark_data_for_update_persistence(user_ids=9)
            await app.update_persistence()
            server.kill()
            app.user_data[7]["name"], app.user_data[8]["name"] = "Ada", "old"
            app.drop_user_data(9)
            app.mark_data_for_update_persistence(user_ids=(7, 8))
            app.handlers[0][0]._update_state(1, (7, 7))
            await app.update_persistence()
            assert len(errors) == 6 and {type(it) for it in errors} == {NotApplied}
            server.start()
            app.user_data[8]["name"] = "new"
            while app.persistence.unsaved:  # until the store has found out that the server is back
                app.mark_data_for_update_persistence(user_ids=8)
                await app.update_persistence()
            assert await app.persistence.get_user_data() == {7: {"name": "Ada"}, 8: {"name": "new"}}
            assert await app.persistence.get_conversations("form") == {(7, 7): 1}
            await app.shutdown()

    asyncio.run(use())


def test_what_is_newer_in_a_run_takes_the_place_of_what_was_refused_before(tmp_path: Path) -> None:
    async def use() -> None:
        async with AsyncTieredBackend.from_url(f"file:{tmp_path}") as store:
            persistence, put = PAGE.TieredPersistence(store), []
            persistence.unsaved["user:8"] = {"name": "old"}
            store_it = persistence.put

            async def noted(key: str, value: object) -> None:
                put.append(key)
                await store_it(key, value)

            persistence.put = noted
            await asyncio.gather(persistence.update_bot_data({}), persistence.update_user_data(8, {"name": "new"}))
            assert sorted(put) == ["bot", "user:8"] and await store.get("user:8") == {"name": "new"}

    asyncio.run(use())


def test_a_store_that_cannot_be_read_starts_no_empty_bot(server: RedisServer) -> None:
    with TieredBackend.from_url(server.url) as store:
        store.set("user:7", {"name": "Ada"})
    server.kill()

    async def use() -> None:
        async with AsyncTieredBackend.from_url(server.url) as store:
            with pytest.raises(StoreUnavailable):
                await application(store).initialize()

    asyncio.run(use())
