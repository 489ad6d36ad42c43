"""Bots that export their metrics, for the commands that look at them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.running import environment
from tests.servers import RedisServer

BOT = Path(__file__).parent / "programs" / "bot.py"


@pytest.fixture
def url(redis_server: RedisServer, tmp_path: Path) -> str:
    """A chain over a server that the test may harm. Its limits leave room for a busy machine."""
    return f"memory://?max_entries=10,{redis_server.url}?timeout=2s&connect_timeout=2s,file:{tmp_path}/data"


@pytest.fixture
def bot(url: str) -> Iterator[Callable[[], str]]:
    """Starts bots over the chain `url`; each call returns the endpoint of another."""
    processes = list[subprocess.Popen[str]]()

    def start() -> str:
        process = subprocess.Popen(
            [sys.executable, str(BOT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(TIERED_URL=url, PYTHONPATH=str(BOT.parents[3])),
        )
        processes.append(process)
        assert process.stdout is not None
        return process.stdout.readline().strip()

    yield start
    for process in processes:
        process.communicate()
