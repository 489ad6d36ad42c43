"""Which loop has a conversation, and that none is left behind: loops end, tiers are closed, at any moment."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.loops import FACTORIES, Loop
from tests.waiting import LIMIT
from tests.wires import wire_to_a_test
from tiered import StoreUnavailable
from tiered.tiers import redis_awaited
from tiered.tiers.redis_awaited import SELDOM, Awaited
from tiered.tiers.redis_conversation import Conversation
from tiered.tiers.redis_wire import Wire

TIMEOUT = 1.0


@pytest.fixture(params=sorted(FACTORIES))
def run(request: pytest.FixtureRequest) -> Loop:
    return Loop(request.param)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(redis_awaited, "monotonic", lambda: clock.now)
    return clock


class Server:
    """The other ends of wires."""

    def __init__(self) -> None:
        self.sockets = list[socket.socket]()
        self.wires = list[Wire]()

    def wire(self, before: Wire | None = None) -> Wire:
        wire, theirs = wire_to_a_test(TIMEOUT)
        self.sockets.append(theirs)
        self.wires.append(wire)
        return wire


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    for end in (*server.sockets, *server.wires):
        end.close()


class Making:
    """`Awaited` with what it is given: all is done at once, in the loop, unless it is left in `jobs`."""

    def __init__(self, prepare: Any, timeout: float = TIMEOUT) -> None:
        self.jobs = list[Any]()
        self.it = Awaited("redis", timeout, prepare, lambda wire, now: True, lambda wire, error: wire.close())

    def conversation(self, *, at_once: bool = True) -> Conversation | None:
        return self.it.conversation((lambda do: do()) if at_once else self.jobs.append)

    async def begin(self) -> Conversation:
        while (it := self.conversation()) is None:
            await asyncio.sleep(0)
        return it


def test_a_connection_that_cannot_be_had_is_not_tried_again_by_each_read(run: Loop, clock: Any) -> None:
    tried = list[None]()

    def fails(_: Wire | None) -> Wire:
        tried.append(None)
        raise RuntimeError("of a credential provider")  # whatever it is: a thread of the pool must not end of it

    async def work() -> None:
        making = Making(fails)
        for expected in (1, 2):
            for _ in range(100):
                assert making.conversation() is None
            assert len(tried) == expected
            clock.now += SELDOM * 1.1
            making.conversation()

    run(work())


def test_closing_while_a_conversation_begins_ends_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        making, loop = Making(server.wire), asyncio.get_running_loop()
        add = loop.add_reader
        monkeypatch.setattr(loop, "add_reader", lambda *args: (add(*args), making.it.close()))
        for _ in range(2):
            assert making.conversation() is None
        await asyncio.sleep(0)
        (wire,) = server.wires
        assert wire.sock.fileno() == -1 and not making.it.wires()

    Loop()(work())


@pytest.mark.parametrize("kind", sorted(FACTORIES))
@pytest.mark.parametrize("by", ["close", "another loop"])
def test_a_connection_for_a_loop_that_ends_before_it_begins_is_closed(server: Server, kind: str, by: str) -> None:
    making, loop = Making(server.wire), FACTORIES[kind]()

    async def ask() -> None:
        for _ in range(2):
            assert making.conversation(at_once=False) is None

    loop.run_until_complete(ask())
    making.jobs.pop()()
    if by == "close":
        making.it.close()
    loop.close()
    if by == "another loop":
        Loop(kind)(ask())
    assert server.wires[0].sock.fileno() == -1


@pytest.mark.parametrize("kind", sorted(FACTORIES))
@pytest.mark.parametrize("when", ["between runs", "after its end"])
def test_closing_ends_the_conversation_of_a_loop_that_does_not_run(server: Server, kind: str, when: str) -> None:
    making, loop = Making(server.wire), FACTORIES[kind]()
    loop.run_until_complete(asyncio.wait_for(making.begin(), LIMIT))
    if when == "after its end":
        loop.close()
    making.it.close()
    loop.close()
    assert server.wires[0].sock.fileno() == -1


def test_closing_wakes_those_who_wait_in_a_loop_that_begins_to_run_meanwhile(server: Server) -> None:
    making, loop = Making(server.wire, timeout=2 * LIMIT), asyncio.new_event_loop()  # no timer wakes it
    asked = threading.Event()

    async def wait() -> object:
        reply = (await making.begin()).ask(b"x")
        loop.call_later(0.05, asked.set)
        return (await asyncio.gather(reply, return_exceptions=True))[0]

    results = list[object]()
    thread = threading.Thread(target=lambda: results.append(loop.run_until_complete(wait())), daemon=True)
    thread.start()
    assert asked.wait(LIMIT)
    loop.is_running = lambda: False  # type: ignore[method-assign]  # as whoever closes saw it, just before
    making.it.close()
    thread.join(LIMIT)
    assert not thread.is_alive() and isinstance(results[0], StoreUnavailable)
    loop.close()


def test_two_threads_may_clear_away_after_the_same_loop(run: Loop) -> None:
    class Ended:
        def is_closed(self) -> bool:
            making.it._seats.clear()  # the other thread
            return True

    async def work() -> None:
        making.it._seats[Ended()] = redis_awaited._Seat()  # type: ignore[index]  # a double
        assert making.conversation() is None and len(making.it._seats) == 1

    making = Making(None)
    run(work())
