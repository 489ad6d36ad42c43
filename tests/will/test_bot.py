"""The real bot, booted with its shell backend: its scheduler runs, its plugin remembers, and storage dies under it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers import RedisServer, free_port
from tests.waiting import eventually
from tests.will.bots import Bot
from tiered import TieredBackend

pytestmark = pytest.mark.will


def test_it_remembers_across_a_restart_with_its_scheduler_running(redis_server: RedisServer, tmp_path: Path) -> None:
    with Bot(tmp_path / "bot", redis_server.url) as bot:
        assert "file, the store of record" in bot.awake().said and bot.alive() == 200
        bot.asked("remember milk", r"I will remember milk\.")
        bot.asked("remember bread", r"I will remember bread\.")
        bot.asked("what do you remember", r"I remember 2: milk, bread\.")
        bot.asked("How big is the db?", r"It's \d+ keys, ")
        with TieredBackend.from_url(f"file:{tmp_path}/bot/will-memory", namespace="will") as store:
            before = store.lookup("scheduler_lock").version
            eventually(lambda: store.lookup("scheduler_lock").version > before + 4, "the scheduler's next rounds")
        bot.kill()
        assert "Unable to" not in bot.said and "Traceback" not in bot.since(), bot.said
    with Bot(tmp_path / "bot", redis_server.url) as bot:
        bot.awake().asked("what do you remember", r"I remember 2: milk, bread\.")
        bot.stop()
        assert "Unable to" not in bot.said, bot.said


def test_storage_redis_is_killed_in_the_middle_and_the_bot_does_not_notice(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    storage = RedisServer()
    url = f"{storage.url},file:{tmp_path}/data"
    try:
        with Bot(tmp_path / "bot", redis_server.url, TIERED_URL=url) as bot:
            bot.awake().asked("remember one", r"I will remember one\.")
            storage.kill()
            bot.asked("remember two", r"I will remember two\.")
            bot.asked("what do you remember", r"I remember 2: one, two\.")
            assert bot.alive() == 200
            storage.start()
            bot.asked("remember three", r"I will remember three\.")
            bot.asked("what do you remember", r"I remember 3: one, two, three\.")
            bot.kill()
            for noticed in ("Unable to", "Traceback", "Error", "blew up"):
                assert noticed not in bot.since(), bot.said
        with TieredBackend.from_url(url, namespace="will") as store:
            eventually(lambda: store.health()["redis"]["breaker"] == "closed", "the return of Redis")
            eventually(lambda: store.verify().converged, "agreement")
            assert store.verify().ok
    finally:
        storage.stop()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redsi://localhost,file:./data", "did you mean 'redis'"),
        ("memory://", "forgets with every process"),
        ("redis://127.0.0.1:NOBODY/0", "cannot be reached"),
        ("file:///proc/nowhere", "cannot make the directory"),
    ],
)
def test_what_cannot_work_is_told_at_the_start(redis_server: RedisServer, tmp_path: Path, url: str, says: str) -> None:
    with Bot(
        tmp_path / "bot",
        redis_server.url,
        ready="Unable to bootstrap storage!",
        TIERED_URL=url.replace("NOBODY", str(free_port())),
    ) as bot:
        assert bot.ended() == 1
        assert says in " ".join(bot.said.split()), bot.said


def test_a_cache_that_is_away_at_the_start_is_told_and_the_bot_starts(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0,file:{tmp_path}/data"
    with Bot(tmp_path / "bot", redis_server.url, TIERED_URL=url) as bot:
        assert "goes on without it" in bot.awake().said
        bot.asked("remember milk", r"I will remember milk\.")
        bot.asked("what do you remember", r"I remember 1: milk\.")
