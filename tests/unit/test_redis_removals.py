"""What a clear of a record in Redis makes invisible is removed beside it: by one thread, whatever is cleared how often."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from tests.waiting import LIMIT, eventually
from tiered import RedisTier
from tiered.entry import draft, namespace_seed
from tiered.testing import contract
from tiered.tiers.base import Write
from tiered.tiers.redis_link import Link


@pytest.fixture
def tier(redis_url: str) -> Iterator[RedisTier]:
    tier = RedisTier(redis_url, timeout=5.0)
    yield tier
    tier.close()


@pytest.fixture
def raw(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


class Steps:
    """Of scans: how many were begun, and whether they may go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.free, self.at_once = 0, threading.Event(), threading.Lock()
        self.free.set()
        self.real: Callable[..., Any] = Link.scan
        monkeypatch.setattr(Link, "scan", lambda *args: self(*args))

    def __call__(self, link: Link, cursor: str | None, pattern: str, limit: int) -> Any:
        assert self.at_once.acquire(blocking=False), "two at the same time"
        try:
            self.begun += cursor is None
            assert self.free.wait(LIMIT)
            return self.real(link, cursor, pattern, limit)
        finally:
            self.at_once.release()


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[Steps]:
    steps = Steps(monkeypatch)
    yield steps
    steps.free.set()
    eventually(lambda: not removing())


def removing() -> list[threading.Thread]:
    return [it for it in threading.enumerate() if it.name == "tiered-redis-clear"]


def put(tier: RedisTier, namespace: str, *keys: str) -> None:
    seed = namespace_seed(namespace)
    tier.commit(namespace, [Write(key, draft(seed, key, b"v", 1)) for key in keys], now=1)


def entries(raw: Any, namespace: str) -> set[str]:
    return {name.decode().rpartition(":")[2] for name in raw.keys(f"tiered:{namespace}:[0-9]*")}


@pytest.mark.parametrize("role", ["record", "cache"])
def test_nothing_of_a_store_whose_prefix_goes_on_is_removed(
    redis_url: str, tier: RedisTier, raw: Any, role: str
) -> None:
    """Its namespace looks like a generation: of these, what is no frame tells it."""
    other = RedisTier(redis_url, prefix="tiered:a", timeout=5.0)
    put(tier, "a", "k", "versions", "store")
    if role == "record":
        put(other, "77", "k", "versions")
    else:
        other.claim("77", "somebody")
        assert contract.put(other, "77:1", "k", draft(namespace_seed("77"), "k", b"v", 1).seal(7))
    before = set(raw.keys("tiered:a:77:*"))
    tier.clear("a")
    eventually(lambda: not raw.keys("tiered:a:1:*"), "the removal")
    eventually(lambda: not removing())
    assert set(raw.keys("tiered:a:77:*")) == before
    other.close()


def test_what_was_cleared_is_removed_and_nothing_else(tier: RedisTier, raw: Any) -> None:
    for namespace in ("a", "b", "a.b"):
        put(tier, namespace, "1", "lease", "x:2")
    raw.set("tiered:a:lease:1", "token")
    raw.set("tiered:a:77", "of another program")
    tier.clear("a")
    put(tier, "a", "after")
    eventually(lambda: entries(raw, "a") == {"after", "77"}, "the removal")
    eventually(lambda: not removing(), "the end of the thread")
    assert entries(raw, "b") == entries(raw, "a.b") == {"1", "lease", "2"}
    assert raw.get("tiered:a:lease:1") and tier.read("a", "after")[1]


def test_clears_one_after_the_other_share_a_thread_and_a_scan(tier: RedisTier, raw: Any, steps: Steps) -> None:
    steps.free.clear()
    for n in range(20):
        put(tier, "a", f"{n}")
        put(tier, "b", f"{n}")
        tier.clear("a")
        tier.clear("b")
        assert len(removing()) == 1
    eventually(lambda: steps.begun == 1)
    steps.free.set()
    eventually(lambda: not removing())
    assert steps.begun <= 4 and not entries(raw, "a") and not entries(raw, "b")


def test_a_clear_that_gets_no_thread_is_a_clear(tier: RedisTier, raw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tier, "a", "1")

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        tier.clear("a")
    assert tier.read("a", "1")[1] is None and entries(raw, "a") == {"1"}
    tier.clear("a")
    eventually(lambda: not entries(raw, "a"), "the removal of both")


def test_a_program_that_clears_and_ends_leaves_nothing(redis_url: str, raw: Any) -> None:
    """Nobody may ever clear that namespace again, and entries of a record do not expire."""
    for n in range(5):
        tier = RedisTier(redis_url, timeout=5.0)
        put(tier, f"job-{n}", *(f"{it}" for it in range(300)))
        tier.clear(f"job-{n}")
        tier.close()
        assert not entries(raw, f"job-{n}")


def test_closing_ends_the_thread(
    tier: RedisTier, steps: Steps, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tiered.tiers.redis.REMOVAL", 0.05)
    put(tier, "a", "1")
    steps.free.clear()
    tier.clear("a")
    tier.clear("b")
    eventually(lambda: steps.begun)
    tier.close()
    assert "until the next clear" in caplog.text
    steps.free.set()
    eventually(lambda: not removing(), "the end of the thread")
    assert steps.begun == 1


def test_a_child_removes_what_it_clears_itself(tier: RedisTier, raw: Any, steps: Steps) -> None:
    put(tier, "a", "1")
    steps.free.clear()
    tier.clear("a")
    eventually(lambda: steps.begun)
    child = os.fork()
    if child == 0:
        steps.free, steps.at_once = threading.Event(), threading.Lock()
        steps.free.set()
        tier.clear("a")
        eventually(lambda: not removing())
        os._exit(0 if not tier._link.call("EXISTS", "none") else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not entries(raw, "a")
