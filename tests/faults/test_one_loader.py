"""One loader among real processes: with Redis, without it, and when the one that loads is killed or stopped."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.loaders import Loader
from tests.servers import RedisServer
from tests.waiting import eventually
from tiered import FileTier, TieredBackend

LEASE = "tiered:default:lease:k"
Start = Callable[..., Loader]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    loaders: list[Loader] = []

    def start(url: str, *, lease_ttl: float = 30.0, patience: float = 300.0) -> Loader:
        loader = Loader(f"p{len(loaders)}", tmp_path, url, lease_ttl, patience)
        loaders.append(loader)
        return loader

    yield start
    for loader in loaders:
        loader.end()


@pytest.fixture
def raw(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


def ask_all(loaders: list[Loader]) -> Loader:
    """Let all ask at once; the one that loads, as soon as all others wait for it."""
    for loader in loaders:
        loader.until("ready")
    for loader in loaders:
        loader.ask()
    eventually(lambda: sum("loading" in it.said for it in loaders) and sum("waiting" in it.said for it in loaders) == 3)
    (only,) = [it for it in loaders if "loading" in it.said]
    return only


def finish(loaders: list[Loader], holder: Loader) -> None:
    holder.let_go()
    assert {it.got() for it in loaders} == {f"from {holder.name}"}
    assert sum(it.said.count("loading") for it in loaders) == 1


def test_four_processes_with_redis_run_one_loader(start: Start, redis_server: RedisServer, raw: redis.Redis) -> None:
    loaders = [start(redis_server.url) for _ in range(4)]
    holder = ask_all(loaders)
    assert 0 < raw.pttl(LEASE) <= 30_000
    finish(loaders, holder)
    eventually(lambda: not raw.exists(LEASE), "release")


@pytest.mark.parametrize("fault", ["kill", "freeze"])
def test_four_processes_without_their_redis_run_one_loader(
    start: Start, redis_server: RedisServer, tmp_path: Path, fault: str
) -> None:
    loaders = [start(redis_server.url) for _ in range(4)]
    for loader in loaders:
        loader.until("ready")
    getattr(redis_server, fault)()
    finish(loaders, ask_all(loaders))
    (lock,) = (tmp_path / "data" / "leases").iterdir()
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600
    assert stat.S_IMODE(lock.parent.stat().st_mode) == 0o700


def test_four_processes_of_a_chain_without_redis_run_one_loader(start: Start) -> None:
    loaders = [start("") for _ in range(4)]
    finish(loaders, ask_all(loaders))


def two(start: Start, url: str, **options: float) -> tuple[Loader, Loader]:
    """One that loads, and one that waits for it."""
    first, second = start(url, **options), start(url, **options)
    for loader in (first, second):
        loader.until("ready")
    first.ask()
    first.until("loading")
    second.ask()
    second.until("waiting")
    return first, second


@pytest.mark.parametrize("with_redis", [True, False])
def test_when_the_holder_is_killed_another_takes_over(
    start: Start, redis_server: RedisServer, with_redis: bool
) -> None:
    first, second = two(start, redis_server.url if with_redis else "", lease_ttl=1.0)
    assert "loading" not in second.said
    first.signal(signal.SIGKILL)
    second.until("loading")
    second.let_go()
    assert second.got() == f"from {second.name}"


@pytest.mark.parametrize("newer", ["loaded", "set"])
@pytest.mark.parametrize("with_redis", [True, False])
def test_a_holder_that_was_stopped_overwrites_nothing_when_it_wakes_up(
    start: Start, redis_server: RedisServer, tmp_path: Path, with_redis: bool, newer: str
) -> None:
    """With Redis its lease ends; a lock on a file does not, but the patience of the others does."""
    url, patience = (redis_server.url, 300.0) if with_redis else ("", 1.0)
    first, second = two(start, url, lease_ttl=1.0, patience=patience)
    first.signal(signal.SIGSTOP)
    try:
        if newer == "loaded":
            second.until("loading")
            second.let_go()
            expected = f"from {second.name}"
        else:
            expected = "set"
            with TieredBackend([FileTier(tmp_path / "data")]) as store:
                store.set("k", expected)
        assert second.got() == expected
        first.let_go()
    finally:
        first.signal(signal.SIGCONT)
    assert first.got() == expected
    with TieredBackend([FileTier(tmp_path / "data")]) as store:
        assert store.get("k") == expected


def test_a_lease_outlives_its_ttl_while_the_loader_runs(
    start: Start, redis_server: RedisServer, raw: redis.Redis
) -> None:
    first, second = two(start, redis_server.url, lease_ttl=3.0)
    extended, before = 0, raw.pttl(LEASE)
    while extended < 4:  # one second apart: longer than the lease would have lasted
        now = raw.pttl(LEASE)
        assert now > 0
        extended += now > before
        before = now
    assert "loading" not in second.said
    first.let_go()
    assert first.got() == second.got() == f"from {first.name}"


def test_a_lease_that_another_program_holds_costs_patience_and_no_error(
    start: Start, redis_server: RedisServer, raw: redis.Redis
) -> None:
    raw.set(LEASE, os.urandom(8))
    loader = start(redis_server.url, patience=0.5)
    loader.ask()
    loader.until("loading")
    loader.let_go()
    assert loader.got() == f"from {loader.name}"
    assert raw.exists(LEASE)


def test_a_key_of_another_type_in_the_place_of_the_lease_is_no_error(
    start: Start, redis_server: RedisServer, raw: redis.Redis
) -> None:
    raw.rpush(LEASE, "x")
    loader = start(redis_server.url)
    loader.let_go()
    loader.ask()
    assert loader.got() == f"from {loader.name}"
