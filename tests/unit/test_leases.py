"""Leases of a chain: who gives them, how long one waits, when one is lost. The clock is moved by hand."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clocks import HandClock
from tests.waiting import eventually
from tiered.chain import Chain
from tiered.codecs import codec_for
from tiered.entry import draft
from tiered.errors import Reason, StoreUnavailable
from tiered.observability.observed import OBSERVED
from tiered.replication.heartbeat import IDLE_ROUNDS, Heartbeat
from tiered.replication.leases import LONGEST_PAUSE, Lease, Leases
from tiered.replication.singleflight import SingleFlight, Stay
from tiered.steps import drive
from tiered.tiers.base import Write
from tiered.tiers.memory import MemoryTier


class Board:
    """Leases in a dict, which end by the clock; `error` is raised by every call while it is set."""

    expires = True

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        self.error: Exception | None = None
        self.held: dict[str, tuple[str, float]] = {}

    def take(self, namespace: str, key: str, token: str, ttl: float) -> bool:
        self.check()
        holder, until = self.held.get(key, (token, 0.0))
        if holder != token and until > self.clock.monotonic():
            return False
        self.held[key] = token, self.clock.monotonic() + ttl
        return True

    def extend(self, namespace: str, key: str, token: str, ttl: float) -> bool:
        self.check()
        return self.held.get(key, ("",))[0] == token and self.take(namespace, key, token, ttl)

    def release(self, namespace: str, key: str, token: str) -> None:
        self.check()
        if self.held.get(key, ("",))[0] == token:
            del self.held[key]

    def check(self) -> None:
        if self.error is not None:
            raise self.error


class Lending(MemoryTier):
    """A store of record, or a cache, that gives leases."""

    def __init__(self, name: str, clock: HandClock) -> None:
        super().__init__(name=name, clock=clock)
        self.leases = Board(clock)


class Remote:
    """A memory tier as a remote cache."""

    def __init__(self, inner: Lending) -> None:
        self.name, self.leases = inner.name, inner.leases
        for method in ("get", "get_many", "put_many", "forget", "probe", "health", "close"):
            setattr(self, method, getattr(inner, method))


class Record(Remote):
    """A memory tier as a record that others share."""

    def __init__(self, inner: Lending) -> None:
        super().__init__(inner)
        self.max_key_bytes, self.journal = inner.max_key_bytes, None
        for method in ("read", "read_many", "commit", "scan", "generation", "clear", "bump"):
            setattr(self, method, getattr(inner, method))


DOWN = StoreUnavailable("away", tier="redis", reason=Reason.CONNECTION)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def cache(clock: HandClock) -> Lending:
    return Lending("redis", clock)


@pytest.fixture
def record(clock: HandClock) -> Lending:
    return Lending("file", clock)


@pytest.fixture
def chain(clock: HandClock, cache: Lending, record: Lending) -> Iterator[Chain]:
    tiers: list[Any] = [MemoryTier(clock=clock), Remote(cache), Record(record)]
    chain = Chain(tiers, codec=codec_for(None), shared=True, staleness=1.5, deadline=1.0, clock=clock)
    yield chain
    OBSERVED.discard(chain)


@pytest.fixture
def leases(chain: Chain, clock: HandClock) -> Leases:
    return Leases(chain, shared=True, ttl=10.0, pause=clock.advance)


def taken(leases: Leases, chain: Chain) -> Lease:
    lease = leases.take(chain.space("n"), "k")
    assert lease is not None
    return lease


def unleased(chain: Chain) -> int:
    return chain.space("n").stats.unleased


def test_the_cache_gives_the_lease_and_only_one_has_it(leases: Leases, chain: Chain, record: Lending) -> None:
    lease = taken(leases, chain)
    assert lease.granted is not None and lease.granted.name == "redis" and not record.leases.held
    assert leases.take(chain.space("n"), "k") is None
    assert leases.take(chain.space("n"), "other") is not None
    leases.release(lease)
    assert taken(leases, chain).granted is not None and unleased(chain) == 0


def test_a_lease_whose_load_is_over_is_not_extended_though_it_was_not_released(
    leases: Leases, chain: Chain, clock: HandClock
) -> None:
    """As when a signal handler raised in the middle of releasing it, and somebody keeps what it raised."""
    space, flights, stay = chain.space("n"), SingleFlight(chain, 60.0), Stay()
    load, _ = flights.enter(space, "k", stay)
    lease = leases.take(space, "k", load)
    assert lease is not None
    clock.advance(8)
    lease.beat()
    clock.advance(8)
    assert leases.take(space, "k") is None, "extended while its load goes on"
    flights.leave(stay)
    lease.beat()
    clock.advance(8)
    assert leases.take(space, "k") is not None


def test_the_record_gives_it_while_the_cache_is_away(
    leases: Leases, chain: Chain, cache: Lending, record: Lending
) -> None:
    cache.leases.error = DOWN
    lease = taken(leases, chain)
    assert lease.granted is not None and lease.granted.name == "file"
    assert leases.take(chain.space("n"), "k") is None
    assert (
        chain.guards[0].stats.errors["other", Reason.CONNECTION] == 3
    )  # two takes and a release of what may have been taken: it feeds the breaker
    leases.release(lease)
    assert not record.leases.held


def test_a_cache_whose_breaker_is_open_is_not_asked(leases: Leases, chain: Chain, cache: Lending) -> None:
    chain.guards[0].breaker.trip()
    assert taken(leases, chain).granted is not None and not cache.leases.held


def test_without_any_it_goes_on_without(leases: Leases, chain: Chain, cache: Lending, record: Lending) -> None:
    cache.leases.error = record.leases.error = DOWN
    lease = taken(leases, chain)
    assert lease.granted is None and lease.kept() and unleased(chain) == 1
    leases.release(lease)


def test_a_lease_whose_answer_was_lost_is_given_back(leases: Leases, chain: Chain, cache: Lending) -> None:
    take = cache.leases.take

    def lost(*args: Any) -> bool:
        take(*args)
        raise DOWN

    cache.leases.take = lost  # type: ignore[method-assign]  # only this once
    lease = taken(leases, chain)
    assert cache.leases.held and lease.granted is not None and lease.granted.name == "file"
    leases.release(lease)
    assert not cache.leases.held


def test_one_process_alone_needs_no_lease(chain: Chain, cache: Lending, record: Lending) -> None:
    lease = taken(Leases(chain, shared=False, ttl=10.0), chain)
    assert lease.granted is None and not cache.leases.held and not record.leases.held and unleased(chain) == 0


def test_who_waits_gets_the_lease_when_it_ends(leases: Leases, chain: Chain, clock: HandClock) -> None:
    taken(leases, chain)
    began = clock.monotonic()
    lease = drive(leases.wait(chain.space("n"), "k", until=began + 100))
    assert lease.granted is not None
    assert 10.0 <= clock.monotonic() - began <= 10.0 + LONGEST_PAUSE


def test_who_waits_stops_when_there_is_a_value(
    leases: Leases, chain: Chain, clock: HandClock, record: Lending, cache: Lending
) -> None:
    chain.guards[0].breaker.trip()  # the value is looked for in the record then
    holder, space = taken(leases, chain), chain.space("n")
    began = clock.monotonic()

    def pause(seconds: float) -> None:
        clock.advance(seconds)
        if clock.monotonic() > began + 1:
            write = Write("k", draft(space.frames.seed, "k", b"v", 1))
            record.commit("n", [write], now=clock.now())

    leases._pause = pause
    lease = drive(leases.wait(space, "k", until=began + 100))
    assert lease.granted is None and clock.monotonic() < began + 2 and holder.kept()


def test_patience_ends(leases: Leases, chain: Chain, clock: HandClock) -> None:
    holder = taken(leases, chain)

    def pause(seconds: float) -> None:
        clock.advance(seconds)
        holder.beat()

    leases._pause = pause
    began = clock.monotonic()
    lease = drive(leases.wait(chain.space("n"), "k", until=began + 30))
    assert lease.granted is None and unleased(chain) == 1
    assert 30 <= clock.monotonic() - began <= 30 + LONGEST_PAUSE


def test_a_lease_that_went_to_another_is_lost(leases: Leases, chain: Chain, clock: HandClock) -> None:
    first = taken(leases, chain)
    assert first.kept()
    clock.advance(10.0)
    second = taken(leases, chain)
    assert not first.kept() and second.kept()
    leases.release(first)
    assert leases.take(chain.space("n"), "k") is None  # the release was not of the second's


def test_a_lease_is_not_lost_because_the_lender_is(
    leases: Leases, chain: Chain, clock: HandClock, cache: Lending
) -> None:
    lease = taken(leases, chain)
    clock.advance(9.0)
    cache.leases.error = DOWN
    assert lease.kept()


def test_extending_keeps_it(leases: Leases, chain: Chain, clock: HandClock) -> None:
    lease = taken(leases, chain)
    for _ in range(5):
        clock.advance(6.0)
        assert lease.kept()
    assert leases.take(chain.space("n"), "k") is None


class Beats:
    def __init__(self) -> None:
        self.count = 0

    def beat(self) -> None:
        self.count += 1


def test_the_heartbeat_beats_what_is_held_and_ends_when_nothing_is() -> None:
    heartbeat, it, other = Heartbeat(0.005), Beats(), Beats()
    heartbeat.add(it)
    eventually(lambda: it.count > IDLE_ROUNDS + 5)
    thread = heartbeat._thread
    heartbeat.remove(it)
    eventually(lambda: heartbeat._thread is None)
    assert thread is not None
    heartbeat.add(other)
    eventually(lambda: other.count > 1)
    heartbeat.stop()
    assert heartbeat._thread is not None and not heartbeat._thread.is_alive()


class Broken(Beats):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def beat(self) -> None:
        super().beat()
        raise self.error


def test_one_that_cannot_be_extended_costs_no_other(caplog: pytest.LogCaptureFixture) -> None:
    heartbeat, broken, it = Heartbeat(0.005), Broken(OverflowError("out of range")), Beats()
    heartbeat.add(broken)
    eventually(lambda: broken.count)
    heartbeat.add(it)
    eventually(lambda: it.count > 1 and broken.count > 1)
    heartbeat.stop()
    assert "out of range" in caplog.text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_is_started_again_for_the_next() -> None:
    heartbeat, broken, it = Heartbeat(0.005), Broken(SystemExit()), Beats()
    heartbeat.add(broken)
    thread = heartbeat._thread
    assert thread is not None
    eventually(lambda: not thread.is_alive())
    heartbeat.remove(broken)
    heartbeat.add(it)
    eventually(lambda: it.count > 1)
    heartbeat.stop()


def test_a_child_does_not_give_back_what_its_parent_holds(leases: Leases, chain: Chain, cache: Lending) -> None:
    lease = taken(leases, chain)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            leases.release(lease)
            code = int(not cache.leases.held or lease.kept())
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


# What the tiers give: the same for all of them


@pytest.fixture(params=["redis", "file"])
def lending(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Any]:
    if request.param == "file":
        from tiered.tiers.file_leases import FileLeases

        return lambda: FileLeases(tmp_path, "file")
    from tiered import RedisTier

    tier = RedisTier(request.getfixturevalue("redis_url"), timeout=5.0)
    request.addfinalizer(tier.close)
    return lambda: tier.leases


def test_only_the_token_that_took_it_extends_and_ends_a_lease(lending: Callable[[], Any]) -> None:
    a, b = lending(), lending()
    assert a.take("n", "k", "A", 60) is True
    assert b.take("n", "k", "B", 60) is False and b.extend("n", "k", "B", 60) is False
    b.release("n", "k", "B")
    assert b.take("n", "k", "B", 60) is False and a.extend("n", "k", "A", 60) is True
    a.release("n", "k", "A")
    a.release("n", "k", "A")
    assert b.take("n", "k", "B", 60) is True and a.extend("n", "k", "A", 60) is False
    b.release("n", "k", "B")


def test_namespaces_and_strange_keys_have_leases_of_their_own(lending: Callable[[], Any]) -> None:
    leases = lending()
    for n, (namespace, key) in enumerate([("n", "k"), ("m", "k"), ("n", "../k"), ("n", "a\0b"), ("n", "ключ")]):
        assert leases.take(namespace, key, f"{n}", 60) is True
        assert leases.take(namespace, key, "other", 60) is False
    for n, (namespace, key) in enumerate([("n", "k"), ("m", "k"), ("n", "../k"), ("n", "a\0b"), ("n", "ключ")]):
        leases.release(namespace, key, f"{n}")
