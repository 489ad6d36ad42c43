"""Commands that go together: each gets its own reply or error, and nobody waits long for anybody."""

from __future__ import annotations

import random
import threading
from concurrent.futures import Future
from typing import Any

import pytest
import redis
from redis.exceptions import ReadOnlyError, ResponseError

from tests.waiting import LIMIT, eventually, started
from tiered import RedisTier
from tiered.errors import Ambiguous, NotApplied, Reason, StoreError, StoreUnavailable
from tiered.tiers import redis_together
from tiered.tiers.combine import Impatient
from tiered.tiers.redis_together import Together


class Wire:
    """Answers each command with itself, when it is let; what it is told to answer or raise instead, it does."""

    def __init__(self) -> None:
        self.sent: list[list[bytes]] = []
        self.go = threading.Event()
        self.instead: dict[bytes, Exception] = {}
        self.error: BaseException | None = None

    def ask_many(self, packed: list[bytes]) -> list[Any]:
        self.sent.append(packed)
        assert self.go.wait(LIMIT)
        if self.error is not None and len(self.sent) > 1:
            raise self.error
        return [self.instead.get(command, command) for command in packed]


class Server:
    """Where `Together` gets its connection from."""

    def __init__(self) -> None:
        self.wire, self.refused = Wire(), False
        self.given, self.failed = 0, list[BaseException]()
        self.together = Together("redis", self.take, self.give, self.fail)  # type: ignore[arg-type]  # a double

    def take(self, write: bool) -> Any:
        if self.refused:
            raise StoreUnavailable("no connection", tier="redis", reason=Reason.CONNECTION)
        return self.wire

    def give(self, wire: Any) -> None:
        self.given += 1

    def fail(self, wire: Any, error: BaseException, write: bool) -> BaseException:
        self.failed.append(error)
        return error

    def crowd(self, *commands: tuple[bytes, bool]) -> list[Future[Any]]:
        """One that talks, and `commands` that wait behind it."""
        first = started(lambda: self.together.ask(b"first", False))
        eventually(lambda: self.wire.sent)
        waiting = self.together._combiner._waiting
        others = []
        for n, (packed, write) in enumerate(commands):
            others.append(started(lambda packed=packed, write=write: self.together.ask(packed, write)))  # type: ignore[misc]
            eventually(lambda n=n: len(waiting) > n)  # type: ignore[misc]
        return [first, *others]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(redis_together, "PATIENCE", LIMIT)
    return Server()


COMMANDS = [(f"{n}".encode(), n % 2 == 1) for n in range(10)]


def outcome(future: Future[Any]) -> Any:
    return future.exception(LIMIT) or future.result(LIMIT)


def test_those_who_wait_go_together_and_each_gets_its_own(server: Server) -> None:
    asked = server.crowd(*COMMANDS)
    server.wire.go.set()
    assert [outcome(it) for it in asked] == [b"first", *(packed for packed, _ in COMMANDS)]
    assert server.wire.sent == [[b"first"], [packed for packed, _ in COMMANDS]] and server.given == 2


def test_a_servers_error_is_raised_for_its_own_command_only(server: Server) -> None:
    server.wire.instead = {b"2": ResponseError("no"), b"3": ResponseError("no"), b"5": ResponseError("no script")}
    asked = server.crowd(*COMMANDS)
    server.wire.go.set()
    outcomes = [outcome(it) for it in asked][1:]
    assert type(outcomes[2]) is StoreUnavailable and type(outcomes[3]) is NotApplied
    assert outcomes[5].__cause__ is server.wire.instead[b"5"]
    assert [it for it in outcomes if not isinstance(it, StoreError)] == [b"0", b"1", b"4", b"6", b"7", b"8", b"9"]
    assert server.given == 2 and not server.failed


def test_a_server_that_is_no_longer_the_master_costs_the_connection(server: Server) -> None:
    server.wire.instead = {b"1": ReadOnlyError("replica")}
    asked = server.crowd(*COMMANDS)
    server.wire.go.set()
    assert type(outcome(asked[2])) is NotApplied and outcome(asked[1]) == b"0"
    assert server.given == 1 and [type(it) for it in server.failed] == [ReadOnlyError]


@pytest.mark.parametrize("error", [redis.ConnectionError("gone"), TimeoutError("late"), KeyboardInterrupt()])
def test_a_connection_that_breaks_is_an_error_for_each(server: Server, error: BaseException) -> None:
    asked = server.crowd(*COMMANDS)
    server.wire.error = error
    server.wire.go.set()
    first, *outcomes = [outcome(it) for it in asked]
    assert first == b"first"
    if isinstance(error, KeyboardInterrupt):
        assert outcomes.pop(0) is error  # in its own thread; the others learn that nobody knows
        kinds = [Ambiguous, StoreUnavailable] * 5
    else:
        kinds = [StoreUnavailable, Ambiguous] * 5
    assert [type(it) for it in outcomes] == kinds[: len(outcomes)]
    assert len({id(it) for it in outcomes}) == len(outcomes) and server.failed == [error]


def test_without_a_connection_each_goes_alone(server: Server) -> None:
    asked = server.crowd(*COMMANDS)
    server.refused = True
    server.wire.go.set()
    assert outcome(asked[0]) == b"first"
    assert [type(outcome(it)) for it in asked[1:]] == [Impatient] * 10
    assert server.wire.sent == [[b"first"]]


def test_nobody_waits_long_behind_one_that_gets_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_together, "PATIENCE", 0.01)
    server = Server()
    first = started(lambda: server.together.ask(b"first", False))
    eventually(lambda: server.wire.sent)
    with pytest.raises(Impatient):
        server.together.ask(b"second", True)
    assert not first.done()
    server.wire.go.set()
    assert outcome(first) == b"first" and server.wire.sent == [[b"first"]]
    assert server.together.ask(b"third", True) == b"third"


def test_32_threads_get_their_own_replies_in_fewer_round_trips(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tier = RedisTier(redis_url, timeout=5.0, connect_timeout=5.0)
    link: Any = tier._link
    trips, converse = [], link._together._converse
    link._together._combiner._run = lambda batch: (converse(batch), trips.append(len(batch)))

    def work(n: int) -> None:
        for turn in random.Random(n).choices(range(50), k=150):
            key, value = f"k{n}:{turn}", f"{n}:{turn}".encode()
            assert link.call("SET", key, value, write=True) == b"OK" and link.call("GET", key) == value
            with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
                link.call("LLEN", key)

    threads = [started(lambda n=n: work(n)) for n in range(32)]  # type: ignore[misc]
    for thread in threads:
        thread.result(LIMIT)
    assert sum(trips) > len(trips), "some went together"
    tier.close()
