"""A store that was used before a fork is used by parent and children at the same time (fault 24)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.agents import file_url
from tests.faults.strace import finish, program
from tests.servers import RedisServer

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("memory", ["", "memory://,"])
@pytest.mark.parametrize("durable", [True, False])
def test_no_reply_is_mixed_up_over_a_fork(
    redis_server: RedisServer, tmp_path: Path, memory: str, durable: bool
) -> None:
    url = f"{memory}{redis_server.url}" + (f",{file_url(tmp_path)}" if durable else "")
    done = finish(program("fork", url))
    assert (done.returncode, done.stdout) == (0, f"{5 * 150}\n"), done.stderr
