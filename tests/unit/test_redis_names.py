"""Names of hosts cost whoever connects no more than his time limit, whatever the resolver of the system does."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.servers import RedisServer
from tests.waiting import LIMIT, eventually, started
from tiered import RedisTier
from tiered.errors import Reason, StoreUnavailable
from tiered.tiers import redis_names

NAME = "redis.test"
TIMEOUT = 0.2


class Resolver:
    """As the system's, but it knows `NAME`, may hang, and may fail."""

    def __init__(self) -> None:
        self.real = socket.getaddrinfo
        self.free, self.fails, self.asked = threading.Event(), False, 0
        self.free.set()

    def __call__(self, host: Any, *args: Any, **options: Any) -> Any:
        if not host.endswith(".test"):
            return self.real(host, *args, **options)
        self.asked += 1
        assert self.free.wait(LIMIT)
        if self.fails:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return self.real("127.0.0.1", *args, **options)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    yield resolver
    resolver.free.set()
    eventually(lambda: not resolving(), "the end of all resolving")
    redis_names.NAMES.forget()


def resolving() -> list[threading.Thread]:
    return [it for it in threading.enumerate() if it.name == redis_names.THREAD]


@pytest.fixture
def tier(resolver: Resolver, redis_url: str) -> Iterator[RedisTier]:
    tier = RedisTier(redis_url.replace("127.0.0.1", NAME), connect_timeout=TIMEOUT, timeout=5.0)
    yield tier
    tier.close()


def ends(tier: RedisTier) -> StoreUnavailable:
    """How a read of it fails."""
    error = started(lambda: tier.get("n:1", "k")).exception(LIMIT / 2)
    assert isinstance(error, StoreUnavailable)
    return error


def test_a_resolver_that_hangs_costs_no_more_than_the_time_limit(tier: RedisTier, resolver: Resolver) -> None:
    resolver.free.clear()
    error = ends(tier)
    assert error.reason is Reason.TIMEOUT and NAME in str(error)


def test_while_it_hangs_one_thread_waits_for_it_whoever_comes(tier: RedisTier, resolver: Resolver) -> None:
    resolver.free.clear()
    for work in [started(lambda: tier.get("n:1", "k")) for _ in range(8)] + [started(tier.probe) for _ in range(8)]:
        assert isinstance(work.exception(LIMIT / 2), StoreUnavailable)
    assert resolver.asked == len(resolving()) == 1
    resolver.free.set()
    eventually(lambda: not resolving())
    assert tier.get("n:1", "k") is None and resolver.asked == 2


@pytest.mark.parametrize("fault", ["hangs", "fails"])
def test_a_name_that_was_resolved_once_leads_there_while_the_resolver_is_away(
    tier: RedisTier, resolver: Resolver, fault: str
) -> None:
    tier.probe()
    resolver.fails = fault == "fails"
    if fault == "hangs":
        resolver.free.clear()
    assert tier.probe() and tier.get("n:1", "k") is None and resolver.asked == 2 + (fault == "fails")


def test_a_name_that_nobody_knows_is_told_at_once(tier: RedisTier, resolver: Resolver) -> None:
    resolver.fails = True
    error = ends(tier)
    assert error.reason is Reason.CONNECTION and "name resolution" in str(error)


def test_a_name_that_comes_to_light_too_late_is_known_from_then_on(tier: RedisTier, resolver: Resolver) -> None:
    resolver.free.clear()
    ends(tier)
    resolver.free.set()
    eventually(lambda: not resolving())
    resolver.free.clear()
    assert tier.get("n:1", "k") is None


@pytest.mark.parametrize("url", [f"redis+sentinel://{NAME}:1/mymaster/0", f"redis+cluster://{NAME}:1,other.test:1"])
def test_so_are_the_names_of_sentinels_and_of_the_nodes_of_a_cluster(resolver: Resolver, url: str) -> None:
    resolver.free.clear()
    tier = RedisTier(url, connect_timeout=TIMEOUT, timeout=TIMEOUT)
    ends(tier)
    tier.close()


def test_an_address_is_not_resolved(resolver: Resolver, redis_server: RedisServer, monkeypatch: Any) -> None:
    monkeypatch.setattr(redis_names, "Question", None)
    tier = RedisTier(redis_server.url)
    assert tier.probe()
    tier.close()


def test_without_a_thread_to_resolve_on_the_tier_cannot_be_reached(
    tier: RedisTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(redis_names.Question, "start", refuse)
        with pytest.raises(StoreUnavailable) as failed:
            tier.get("n:1", "k")
    assert failed.value.reason is Reason.CONNECTION
    assert tier.get("n:1", "k") is None


def test_a_child_resolves_anew_while_its_parents_resolver_hangs(tier: RedisTier, resolver: Resolver) -> None:
    resolver.free.clear()
    ends(tier)
    child = os.fork()
    if child == 0:
        resolver.free = threading.Event()
        resolver.free.set()
        os._exit(0 if tier.get("n:1", "k") is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
