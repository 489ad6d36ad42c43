"""The memories of several processes over a real Redis: told by messages, bounded by δ when nobody tells.

Where a test says "never older than δ", it takes its times around the calls: a write was acknowledged before its answer is
here, and a read begins after it was asked for. So the verdict is right however slow the machine is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.faults.agents import Agent, file_url
from tests.servers import RedisServer
from tests.waiting import eventually
from tiered import ConfigError, TieredBackend
from tiered.testing.chaos import Proxy

pytestmark = pytest.mark.faults

DELTA = 1.0
LONG = 600.0
"""A staleness bound that no test outlasts: what comes sooner has come by a message."""

Start = Callable[..., Agent]


@pytest.fixture
def start(redis_server: RedisServer, proxy: Proxy, tmp_path: Path) -> Iterator[Start]:
    """Starts processes that share a directory and a server; they end before the proxy does."""
    with ExitStack() as agents:

        def start(
            *,
            port: int = redis_server.port,
            caches: str = "",
            directory: str = "data",
            staleness: float = DELTA,
            **options: Any,
        ) -> Agent:
            caches = caches or f"memory://,redis://127.0.0.1:{port}/0"
            url = f"{caches},{file_url(tmp_path / directory)}"
            return agents.enter_context(Agent(url, staleness=staleness, **options))

        yield start


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    with Proxy("127.0.0.1", redis_server.port) as it:
        yield it


def entries(agent: Agent) -> int:
    """How many entries its memory holds."""
    return int(agent.ask("stats").value["memory"]["entries"])


def reads_below_memory(agent: Agent) -> int:
    tiers = agent.ask("stats").value["tiers"].values()
    return sum(tier[count] for tier in tiers for count in ("hits", "misses", "skipped"))


def coherence(agent: Agent) -> dict[str, int]:
    found: dict[str, int] = agent.ask("coherence").value
    return found


def listening(agent: Agent) -> Agent:
    """The same, as soon as its subscription is proven live."""
    agent.get("some key, so that it begins")
    eventually(lambda: coherence(agent)["connected"])
    return agent


def wait_for_delta(since: float) -> None:
    eventually(lambda: time.monotonic() > since + DELTA)


# Messages


def test_a_write_elsewhere_reaches_memory_by_a_message(start: Start) -> None:
    a, b = start(staleness=LONG), listening(start(staleness=LONG))
    b.ask("look_no_more")
    for value in ("v1", "v2", "v3"):
        a.set("k", value)
        eventually(lambda value=value: b.get("k") == value)  # type: ignore[misc]  # bound now
        assert b.ask("lookup", "k").value["tier"] == "memory"
    assert a.ask("delete", "k").value is True
    eventually(lambda: b.get("k") is None)
    assert coherence(b)["applied"] >= 3


def test_a_batch_and_a_clear_elsewhere_reach_memory(start: Start) -> None:
    a, b = start(staleness=LONG), listening(start(staleness=LONG))
    keys = [f"k{n}" for n in range(300)]
    a.ask("set_many", dict.fromkeys(keys, 1))
    assert b.ask("get_many", keys).value == dict.fromkeys(keys, 1)
    a.ask("set_many", dict.fromkeys(keys, 2))
    eventually(lambda: b.ask("get_many", keys).value == dict.fromkeys(keys, 2))
    a.ask("clear")
    eventually(lambda: b.ask("get_many", keys).value == {})  # by a look: a generation is not told


def test_memory_lives_on_past_delta_while_nothing_is_written(start: Start) -> None:
    """A machine that stops its threads for δ may cost a read; a whole window without one is what nothing else explains."""
    a, b = start(staleness=1.5), listening(start(staleness=1.5))
    a.set("k", "v1")

    def a_window_of_two_delta_without_a_read() -> bool:
        assert b.get("k") == "v1"
        began, before = time.monotonic(), reads_below_memory(b)
        while time.monotonic() < began + 3.0:
            assert b.get("k") == "v1"
        return reads_below_memory(b) == before

    eventually(a_window_of_two_delta_without_a_read)


def test_without_messages_memory_is_asked_again_after_delta(start: Start) -> None:
    """What the test above would see if memory did not live on."""
    b = start(caches="memory://")
    b.set("k", "v1")
    began, before = time.monotonic(), reads_below_memory(b)
    while time.monotonic() < began + 2 * DELTA:
        assert b.get("k") == "v1"
    assert reads_below_memory(b) > before


# A subscription that breaks


def test_a_subscription_that_is_killed_empties_memory_and_comes_back(start: Start, redis_server: RedisServer) -> None:
    a, b = start(staleness=LONG), listening(start(staleness=LONG))
    a.set("k", "v1")
    eventually(lambda: b.get("k") == "v1" and entries(b) == 1)
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.client_kill_filter(_type="pubsub") >= 1
    eventually(lambda: coherence(b)["resyncs"] == 1 and entries(b) == 0)
    listening(b)
    b.ask("look_no_more")
    assert b.get("k") == "v1" and b.ask("lookup", "k").value["tier"] == "memory"
    a.set("k", "v2")
    eventually(lambda: b.get("k") == "v2")


def test_a_subscription_that_is_half_open_empties_memory(start: Start, redis_server: RedisServer) -> None:
    """The connection stands, and nobody is at its other end."""
    a, b = start(), listening(start())
    a.set("k", "v1")
    assert b.get("k") == "v1"
    redis_server.freeze()
    eventually(lambda: coherence(b)["resyncs"] == 1 and entries(b) == 0)
    assert not coherence(b)["connected"]
    a.set("k", "v2")
    acknowledged = time.monotonic()
    wait_for_delta(acknowledged)
    assert b.get("k") == "v2"
    redis_server.thaw()
    listening(b)
    a.set("k", "v3")
    eventually(lambda: b.get("k") == "v3")


# Never older than δ


def never_older_than_delta(writer: Agent, reader: Agent, numbers: range = range(1, 5)) -> None:
    """`writer` writes higher and higher numbers; `reader` reads all the time."""
    highest = 0
    for number in numbers:
        writer.set("k", number)
        acknowledged = time.monotonic()
        due = 0
        while due < 3:
            began = time.monotonic()
            value = reader.get("k") or 0
            assert value >= highest, "going back"
            highest = value
            if began > acknowledged + DELTA:
                assert value == number, f"{began - acknowledged:.2f} s after it was overwritten"
                due += 1


@pytest.mark.parametrize("fault", ["pass", "refuse", "drop", "hang", "lose_replies", "flap"])
def test_a_writer_that_is_cut_off_alone_is_noticed_in_time(start: Start, proxy: Proxy, fault: Any) -> None:
    a, b = start(port=proxy.port), listening(start())
    a.set("k", 0)
    assert b.get("k") == 0
    proxy.switch(fault)
    never_older_than_delta(a, b)
    proxy.pass_through()
    never_older_than_delta(a, b, range(5, 7))


@pytest.mark.parametrize("fault", ["refuse", "drop", "hang"])
def test_a_reader_that_is_cut_off_alone_reads_nothing_older(start: Start, proxy: Proxy, fault: Any) -> None:
    a, b = start(), listening(start(port=proxy.port))
    a.set("k", 0)
    assert b.get("k") == 0
    proxy.switch(fault)
    never_older_than_delta(a, b)


@pytest.mark.parametrize("writer", ["memory://", ""])
@pytest.mark.parametrize("reader", ["memory://", ""])
def test_chains_with_and_without_redis_share_a_record(start: Start, writer: str, reader: str) -> None:
    b = start(caches=reader)
    a = start(caches=writer)
    never_older_than_delta(a, b)
    never_older_than_delta(b, a, range(5, 7))


@pytest.mark.parametrize("cut_off", [False, True])
def test_a_reader_that_stood_still_reads_nothing_older_when_it_goes_on(
    start: Start, proxy: Proxy, cut_off: bool
) -> None:
    a, b = start(port=proxy.port), listening(start())
    a.set("k", 0)
    if cut_off:
        proxy.refuse()
    rounds = 0
    for number in range(1, 20):
        b.get("k")
        b.stop()
        written = a.ask("set", "k", number)
        acknowledged = time.monotonic()
        if written.error is None:
            wait_for_delta(acknowledged)
            b.send("get", "k")  # the first thing that it does
            b.go_on()
            assert b.answer().value == number
            rounds += 1
        else:  # it was stopped while it held the lock of the database: nobody can write then
            assert written.error == "NotApplied", written.message
            b.go_on()
        if rounds == 4:
            return
    pytest.fail("it always stood still in the middle of a transaction")


# Who shares what


def test_alone_memory_is_never_asked_again_and_nobody_else_gets_in(start: Start, tmp_path: Path) -> None:
    alone = start(staleness=0.05, shared=False)
    alone.set("k", "v1")
    assert alone.get("k") == "v1"
    began, before = time.monotonic(), reads_below_memory(alone)
    while time.monotonic() < began + 1.0:
        assert alone.get("k") == "v1"
    assert reads_below_memory(alone) == before and not coherence(alone)["connected"]
    with pytest.raises(ConfigError, match="in use"):
        TieredBackend.from_url(file_url(tmp_path / "data"))


def test_two_hosts_with_their_own_files_behind_one_redis_are_told(start: Start, redis_server: RedisServer) -> None:
    one, other = start(), start(directory="of another host")
    one.set("k", "one's")
    for call in (("get", "k"), ("set", "k", "other's")):
        refused = other.ask(*call)
        assert refused.error == "ConfigError"
        assert "another store of record" in refused.message and "tiered:default:store" in refused.message
    state = other.ask("health").value["redis"]
    assert not state["ok"] and "tiered:default:store" in state["detail"]
    assert one.get("k") == "one's" and one.ask("health").value["redis"]["ok"]
    with redis.Redis.from_url(redis_server.url) as client:
        assert 300_000 < client.pttl("tiered:default:store") <= 600_000
    elsewhere = start(directory="of another host", namespace="theirs")
    assert elsewhere.set("k", "other's")["redis"] == "ok" and elsewhere.get("k") == "other's"
    assert one.get("k") == "one's"


def test_a_namespace_whose_store_is_gone_can_be_freed_as_the_message_says(
    start: Start, redis_server: RedisServer
) -> None:
    """And what the old store left in Redis is not read: generations are of one store."""
    start().set("k", "of the old directory")
    new = start(directory="made anew")
    assert new.ask("get", "k").error == "ConfigError"
    with redis.Redis.from_url(redis_server.url) as client:
        client.delete("tiered:default:store")
    assert new.get("k") is None
    assert new.set("k", "new")["redis"] == "ok"
