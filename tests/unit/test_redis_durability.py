"""Whether a Redis keeps what it has acknowledged: asked before the first commit, and told once."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from tests.waiting import LIMIT, started
from tiered.tiers.redis_durability import Durability
from tiered.tiers.redis_link import Link


class Server:
    """One that answers when so many ask."""

    def __init__(self, many: int) -> None:
        self._asked = threading.Barrier(many)

    def call(self, *_: Any) -> bytes:
        self._asked.wait(LIMIT)
        return b"aof_enabled:0\r\n"


def test_many_who_commit_first_are_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    durability, server = Durability("redis"), cast(Link, Server(8))
    for look in [started(lambda: durability.look(server)) for _ in range(8)]:
        look.result(LIMIT)
    assert durability.appendonly is False and len(caplog.records) == 1
