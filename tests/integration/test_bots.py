"""The bots of docs/bots.md, whole and as pasted, above a real Redis that dies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bots import CODE, Bot
from tests.servers import RedisServer
from tiered import TieredBackend

Begin = Callable[[], Bot]


@pytest.fixture(params=list(CODE))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(tmp_path: Path, redis_server: RedisServer) -> str:
    return f"memory://,{redis_server.url},file:{tmp_path / 'data'}"


@pytest.fixture(params=["asyncio"])
def begin(request: pytest.FixtureRequest, name: str, tmp_path: Path, url: str) -> Iterator[Begin]:
    bots: list[Bot] = []

    def begin() -> Bot:
        bots.append(Bot(name, tmp_path, url, request.param))
        return bots[-1]

    yield begin
    for bot in bots:
        bot.kill()


def introduce(bot: Bot) -> None:
    bot.tell((7, "/start"))
    assert bot.hear() == (7, "What is your name?")


@pytest.mark.parametrize("begin", ["asyncio", "uvloop"], indirect=True)
def test_a_conversation_goes_on_after_sigterm_and_while_redis_is_dead(
    begin: Begin, redis_server: RedisServer, url: str
) -> None:
    bot = begin()
    introduce(bot)
    assert bot.terminate() == 0
    redis_server.kill()
    bot = begin()
    bot.tell((7, "Ada"))
    bot.tell((8, "hello"))
    assert bot.hear() == (8, "None, that was your message 1")
    assert bot.terminate() == 0
    redis_server.start()
    bot = begin()
    bot.tell((7, "hello"))
    assert bot.hear() == (7, "Ada, that was your message 1")
    assert bot.terminate() == 0
    with TieredBackend.from_url(url) as store:
        store.replay()
        assert store.verify().converged


def test_what_a_handler_wrote_to_the_store_survives_a_kill_at_once(begin: Begin) -> None:
    bot = begin()
    bot.tell(*[(7, "hello")] * 3)
    assert sorted(bot.hear()[1][-1] for _ in range(3)) == ["1", "2", "3"]
    bot.kill()
    bot = begin()
    bot.tell((7, "hello"))
    assert bot.hear() == (7, "None, that was your message 4")


def test_who_says_too_much_is_not_answered(begin: Begin) -> None:
    bot = begin()
    bot.tell(*[(7, "hello")] * 30)
    bot.tell((8, "hello"))
    heard = [bot.hear()]
    while heard[-1][0] != 8:
        heard.append(bot.hear())
    assert bot.terminate() == 0
    assert bot.process.stdout
    heard += [(7, line) for line in bot.process.stdout]
    assert len(heard) == 21
