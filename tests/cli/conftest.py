"""Bots that export their metrics, for the commands that look at them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.running import environment
from tests.servers import RedisServer

PROGRAM = Path(__file__).parent / "programs" / "bot.py"


@pytest.fixture
def url(redis_server: RedisServer, tmp_path: Path) -> str:
    """A chain over a server that the test may harm. Its limits leave room for a busy machine."""
    return f"memory://?max_entries=10,{redis_server.url}?timeout=2s&connect_timeout=2s,file:{tmp_path}/data"


class Bot:
    """A process over the chain `url`."""

    def __init__(self, url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(TIERED_URL=url, PYTHONPATH=str(PROGRAM.parents[3])),
        )
        assert self._process.stdout is not None
        self.endpoint = self._process.stdout.readline().strip()

    def stop(self) -> None:
        self._process.communicate()


@pytest.fixture
def bots(url: str) -> Iterator[Callable[[], Bot]]:
    """Starts one bot after the other."""
    started = list[Bot]()

    def start() -> Bot:
        started.append(Bot(url))
        return started[-1]

    yield start
    for bot in started:
        bot.stop()


@pytest.fixture
def bot(bots: Callable[[], Bot]) -> Bot:
    return bots()


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of a bot that nobody harms."""
    server = RedisServer()
    bot = Bot(
        f"memory://?max_entries=10,{server.url}?timeout=2s&connect_timeout=2s,file:{tmp_path_factory.mktemp('bot')}/data"
    )
    yield bot.endpoint
    bot.stop()
    server.stop()
