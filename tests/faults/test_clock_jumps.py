"""A wall clock that jumps: breakers and memory do not notice, and no version goes back (fault 26)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.faults.agents import Agent, eventually, file_url
from tests.faults.clocks import WallClock
from tests.servers import RedisServer

pytestmark = [pytest.mark.faults, pytest.mark.root]

DAY, YEARS = 86_400, 10 * 365 * 86_400
JUMPS = (DAY, -DAY, YEARS, -YEARS, 1, 0)


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    return WallClock(tmp_path)


@pytest.fixture
def jumping_server(clock: WallClock) -> Iterator[RedisServer]:
    """A Redis under the clock that jumps."""
    server = RedisServer(wrap=clock.under)
    yield server
    server.stop()


def test_the_jump_is_a_real_one(clock: WallClock, tmp_path: Path) -> None:
    with Agent(file_url(tmp_path / "store"), wrap=clock.under) as agent:
        wall, monotonic = agent.ask("clocks").value
        clock.jump(YEARS)
        wall_after, monotonic_after = agent.ask("clocks").value
    assert wall_after - wall > YEARS - 60 and monotonic_after - monotonic < DAY


@pytest.mark.parametrize("with_redis", [False, True])
def test_no_version_goes_back_and_the_last_write_wins(
    clock: WallClock, redis_server: RedisServer, tmp_path: Path, with_redis: bool
) -> None:
    url = ",".join(["memory://", *([redis_server.url] if with_redis else []), file_url(tmp_path / "store")])
    with Agent(url, wrap=clock.under, staleness=0.3) as jumping, Agent(url, staleness=0.3) as other:
        versions = []
        for jump in JUMPS:
            clock.jump(jump)
            for agent, value in ((jumping, ["jumping", jump]), (other, ["other", jump])):
                versions.append(agent.ask("set", "k", value).value["version"])
                assert agent.get("k") == value
            eventually(lambda v=value: jumping.get("k") == v)
        assert versions == sorted(set(versions))


def test_memory_does_not_notice(clock: WallClock, tmp_path: Path) -> None:
    with Agent(f"memory://,{file_url(tmp_path / 'store')}", wrap=clock.under, shared=False) as agent:
        agent.ask("set", "k", "v", 3600)
        for jump in JUMPS:
            clock.jump(jump)
            found = agent.ask("lookup", "k").value
            assert (found["value"], found["tier"]) == ("v", "memory")


def test_a_breaker_does_not_wait_for_the_wall_clock(
    clock: WallClock, redis_server: RedisServer, tmp_path: Path
) -> None:
    def breaker(agent: Agent) -> str:
        state: str = agent.ask("health").value["redis"]["breaker"]
        return state

    with Agent(f"{redis_server.url},{file_url(tmp_path / 'store')}", wrap=clock.under) as agent:
        for jump in (-DAY, DAY):
            redis_server.kill()
            eventually(lambda: agent.ask("set", "k", "v").error is None and breaker(agent) != "closed")
            clock.jump(jump)
            redis_server.start()
            eventually(lambda: breaker(agent) == "closed")
            assert agent.get("k") == "v"


def test_a_server_whose_clock_jumps_is_written_to_again(
    clock: WallClock, jumping_server: RedisServer, tmp_path: Path
) -> None:
    with (
        Agent(f"{jumping_server.url},{file_url(tmp_path / 'store')}") as agent,
        redis.Redis.from_url(jumping_server.url) as raw,
    ):
        for n, jump in enumerate(JUMPS):
            clock.jump(jump)
            assert abs(raw.time()[0] - time.time() - jump) < DAY / 2
            agent.set("k", n)
            assert agent.get("k") == n
            eventually(lambda: agent.set("other", 1)["redis"] == "ok")
            eventually(lambda: agent.ask("lookup", "k").value["tier"] == "redis")
            assert agent.get("k") == n


def test_a_record_in_redis_gives_no_version_twice(clock: WallClock, jumping_server: RedisServer) -> None:
    with Agent(jumping_server.url) as agent:
        versions = []
        for jump in JUMPS:
            clock.jump(jump)
            versions += [agent.ask("set", "k", n).value["version"] for n in range(3)]
        assert versions == sorted(set(versions))
