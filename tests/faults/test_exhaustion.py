"""A process that runs out of descriptors, threads or memory: a typed error or none, and its state is intact (fault 8)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from tests.faults.agents import Agent, eventually, file_url
from tests.faults.strace import finish, injecting, program
from tests.machine import refuse
from tests.servers import RedisServer

pytestmark = pytest.mark.faults


def test_without_descriptors_nothing_new_opens_and_lifting_the_limit_heals(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    with Agent(f"{redis_server.url},{file_url(tmp_path)}") as agent:
        agent.ask("limit", "NOFILE", agent.ask("descriptors").value)
        assert agent.ask("get", "k").error == "StoreUnavailable"  # a first read opens a connection
        written = agent.ask("set", "k", "v").error
        agent.ask("limit", "NOFILE", -1)
        assert agent.get("k") == (None if written else "v")
        eventually(lambda: agent.set("k", "again")["redis"] == "ok")
        assert agent.get("k") == "again"


def test_what_says_that_there_are_no_descriptors_names_the_limit(redis_server: RedisServer, tmp_path: Path) -> None:
    with Agent(f"{redis_server.url},{file_url(tmp_path)}") as agent:
        agent.ask("limit", "NOFILE", agent.ask("descriptors").value)
        assert "(ulimit -n)" in agent.ask("get", "k").message
        assert "(ulimit -n)" in agent.ask("health").value["redis"]["detail"]


def test_honest_failure_a_first_write_without_descriptors_is_not_applied(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    with Agent(f"{redis_server.url},{file_url(tmp_path)}") as agent:
        agent.ask("limit", "NOFILE", agent.ask("descriptors").value)
        assert agent.ask("set", "k", "v").error in (None, "NotApplied")


@pytest.mark.root
@pytest.mark.parametrize(
    "redis",
    [
        False,
        True,
    ],
)
def test_without_new_threads_every_call_still_answers(redis_server: RedisServer, tmp_path: Path, redis: bool) -> None:
    url = ",".join(["memory://", *([redis_server.url] if redis else []), file_url(tmp_path)])
    with Agent(url, wrap=lambda it: injecting("clone,clone3:error=EAGAIN", it)) as agent:
        for n in range(3):
            assert agent.set("k", n)["file"] == "ok"
            assert agent.get("k") == n
        agent.close()


@pytest.mark.parametrize(
    "memory",
    [
        "none",
        "memory",
    ],
)
def test_a_failed_allocation_anywhere_leaves_the_store_intact(tmp_path: Path, memory: str) -> None:
    if importlib.util.find_spec("_testcapi") is None:
        refuse("this Python has no _testcapi, whose set_nomemory makes allocations fail")
    if sys.version_info >= (3, 12):
        refuse(
            "this Python does not survive it itself: 3.12.1 and 3.13.0 crash in their own evaluation of a later call"
        )
    done = finish(program("out_of_memory", str(tmp_path), memory))
    assert done.stdout.endswith("intact\n") and done.returncode == 0, done.stdout + done.stderr
