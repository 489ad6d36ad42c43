"""A network that refuses, swallows, loses and delays packets, for all or for one process only (faults 9, 11, 12, 13)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.agents import Agent, Answer, eventually, file_url
from tests.faults.network import TO_REDIS, TO_THE_SIDE_DOOR, Network, NetworkRedis, network_with_redis

pytestmark = [pytest.mark.faults, pytest.mark.root]

BOUND = 10.0
"""Seconds that no call may take; without limits of their own they would take minutes. The deadline is 1 s, but the
machine may be busy."""
FAULTS = {
    "reset": ("received", f"{TO_REDIS} reject with tcp reset"),
    "refused by the network": ("received", f"{TO_REDIS} reject"),
    "black hole": ("received", f"{TO_REDIS} drop"),
    "black hole for replies": ("sent", "tcp sport 6379 drop"),
    "lossy": ("received", "numgen random mod 100 < 30 drop"),
}

NEW = ["new", "x" * 3000]

Both = tuple[Network, NetworkRedis]


@pytest.fixture
def both() -> Iterator[Both]:
    with network_with_redis() as it:
        yield it


def url(directory: Path) -> str:
    return f"{NetworkRedis.url},{file_url(directory)}"


def break_(network: Network, fault: str) -> None:
    if fault == "slow":
        network.shape("8kbit")
    else:
        network.add(*FAULTS[fault])


def in_time(answer: Answer) -> Answer:
    assert answer.error is None, answer.message
    assert answer.seconds < BOUND
    return answer


@pytest.mark.parametrize("fault", [*FAULTS, "slow"])
def test_failover_no_call_fails_or_waits_long_and_nothing_old_is_read(both: Both, tmp_path: Path, fault: str) -> None:
    network, _ = both
    with Agent(url(tmp_path), wrap=network.inside) as agent:
        for n in range(10):
            agent.set(f"k{n}", "old")
        break_(network, fault)
        queued = 0
        for n in range(10):
            written = in_time(agent.ask("set", f"k{n}", NEW))
            queued += written.value["tiers"]["redis"] == "queued"
            assert in_time(agent.ask("get", f"k{n}")).value == NEW
        assert queued > 0 or fault == "lossy"  # TCP may get through what is lost
        network.heal()
        with Agent(url(tmp_path), wrap=network.inside) as fresh:
            assert all(fresh.get(f"k{n}") == NEW for n in range(10))  # at once, before anything was repaired
            for store in (agent, fresh):
                eventually(lambda s=store: all(served_by(s, f"k{n}") == "redis" for n in range(10)))
                assert all(store.get(f"k{n}") == NEW for n in range(10))


def test_a_black_hole_costs_nothing_once_the_breaker_is_open(both: Both, tmp_path: Path) -> None:
    network, _ = both
    with Agent(url(tmp_path), wrap=network.inside) as agent:
        agent.set("k", 0)
        break_(network, "black hole")
        eventually(lambda: agent.ask("set", "k", 1).error is None and breaker(agent) == "open")
        before = skipped(agent)
        for n in range(50):
            agent.set("k", n)
            assert agent.get("k") == n
        assert skipped(agent) - before >= 50  # none of these reads asked the tier


def served_by(agent: Agent, key: str) -> str:
    tier: str = agent.ask("lookup", key).value["tier"]
    return tier


def breaker(agent: Agent) -> str:
    state: str = agent.ask("health").value["redis"]["breaker"]
    return state


def skipped(agent: Agent) -> int:
    count: int = agent.ask("stats").value["tiers"]["redis"]["skipped"]
    return count


def test_no_stale_return_while_one_process_alone_is_cut_off(both: Both, tmp_path: Path) -> None:
    network, server = both
    with (
        Agent(f"{server.side_url},{file_url(tmp_path)}", wrap=network.inside) as cut_off,
        Agent(url(tmp_path), wrap=network.inside) as other,
    ):
        cut_off.set("a", "v1")
        cut_off.set("b", "v1")
        assert served_by(other, "a") == "redis" and other.get("b") == "v1"
        network.add("sent", f"{TO_THE_SIDE_DOOR} drop")
        # Its writes reach only the record; the other still finds the old value in Redis, and must not for long.
        held = server.raw.mget(names := sorted(server.raw.keys("tiered:default:*:a")))
        assert in_time(cut_off.ask("set", "a", "v2")).value["tiers"]["redis"] == "queued"
        assert held == server.raw.mget(names)
        eventually(lambda: other.get("a") == "v2")
        assert {other.get("a") for _ in range(100)} == {"v2"}
        # And the other way round: what the other writes, the one that is cut off reads at once.
        assert other.set("b", "v2")["redis"] == "ok"
        assert in_time(cut_off.ask("get", "b")).value == "v2"
        network.heal()
        eventually(lambda: breaker(cut_off) == "closed")
        assert {(agent.get("a"), agent.get("b")) for agent in (cut_off, other)} == {("v2", "v2")}
