"""SIGKILL between the commit and Redis, and at every other command that is sent: the next process repairs it (fault 32)."""

from __future__ import annotations

import shutil
import signal
from itertools import count
from pathlib import Path

import pytest
import redis

from tests.faults.agents import eventually, file_url
from tests.faults.strace import finish, injecting, program
from tests.servers import RedisServer
from tiered import FileTier, RedisTier, TieredBackend

pytestmark = [pytest.mark.faults, pytest.mark.root]


def test_convergence_a_process_killed_at_any_command_to_redis_is_repaired_by_the_next(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    directory, url = tmp_path / "store", redis_server.url
    seam = 0
    for n in count(1):
        shutil.rmtree(directory, ignore_errors=True)
        with redis.Redis.from_url(url) as raw:
            raw.flushall()
            with TieredBackend([RedisTier(url), FileTier(directory)]) as store:
                store.set("k", "old")
            before = frame(raw)
            done = finish(
                injecting(f"write:signal=SIGKILL:when={n}", program("publish", f"{url},{file_url(directory)}"))
            )
            assert done.returncode in (0, -signal.SIGKILL), done.stderr
            with TieredBackend([FileTier(directory)]) as record:
                value = record.get("k")
            seam += value == "new" and frame(raw) == before
        assert value in ("old", "new") and ("acknowledged" not in done.stdout or value == "new")
        with TieredBackend([RedisTier(url), FileTier(directory)]) as store:
            assert store.get("k") == value
            eventually(lambda s=store: s.lookup("k").tier == "redis" and not s.health()["redis"]["owed"])
            assert store.get("k") == value
        if done.returncode == 0:
            break
    assert seam > 0, "it was never killed between the commit and Redis"


def frame(raw: redis.Redis) -> object:
    """What Redis holds of the key."""
    names = raw.keys("tiered:default:*:k")
    return raw.mget(sorted(names)) if names else None
