"""Conversations of event loops with a server: here the test is the server, and the clock is the test's."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from math import inf
from types import SimpleNamespace
from typing import Any

import pytest
from redis.exceptions import ResponseError

from tests.loops import FACTORIES, Loop
from tiered import StoreUnavailable
from tiered.errors import Reason
from tiered.tiers import redis_awaited
from tiered.tiers.redis_awaited import KEPT, SELDOM, Awaited, Conversation
from tiered.tiers.redis_wire import PATIENCE, Wire, pack

TIMEOUT = 1.0
QUESTION = pack(("GET", "k"))


@pytest.fixture(params=sorted(FACTORIES))
def run(request: pytest.FixtureRequest) -> Loop:
    return Loop(request.param)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(redis_awaited, "monotonic", lambda: clock.now)
    return clock


class Connection:
    """What redis-py hands over."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self._parser = sock, SimpleNamespace(parse_error=ResponseError)

    def disconnect(self) -> None:
        self._sock.close()


class Server:
    """The other ends of wires."""

    def __init__(self) -> None:
        self.sockets = list[socket.socket]()
        self.wires = list[Wire]()

    def wire(self, before: Wire | None = None) -> Wire:
        mine, theirs = socket.socketpair()
        theirs.setblocking(False)
        wire = Wire(Connection(mine), TIMEOUT)
        wire.believed_until = inf
        self.sockets.append(theirs)
        self.wires.append(wire)
        return wire

    def says(self, replies: bytes) -> None:
        assert self.sockets[-1].send(replies) == len(replies)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    for end in (*server.sockets, *server.wires):
        end.close()


def talk(server: Server, ended: Any = lambda wire, error: None) -> Conversation:
    return Conversation("redis", asyncio.get_running_loop(), server.wire(), TIMEOUT, ended)


async def asked(it: Conversation, count: int = 1) -> list[asyncio.Future[Any]]:
    futures = [it.ask(QUESTION) for _ in range(count)]
    await asyncio.sleep(0)
    return futures


def failure(future: asyncio.Future[Any]) -> Reason:
    error = future.exception()
    assert isinstance(error, StoreUnavailable)
    return error.reason


def test_a_loop_that_was_kept_from_looking_finds_all_its_replies(run: Loop, server: Server, clock: Any) -> None:
    async def work() -> None:
        it = talk(server)
        futures = await asked(it, 5)
        server.says(b"$30000\r\n" + b"x" * 30_000 + b"\r\n")
        for _ in range(4):
            server.says(b"$20000\r\n" + b"x" * 20_000 + b"\r\n")
        clock.now += 100 * TIMEOUT
        it._look()
        assert [len(future.result()) for future in futures] == [30_000, *[20_000] * 4] and not it.over
        it.end(None)

    run(work())


def test_replies_that_keep_coming_are_waited_for(run: Loop, server: Server, clock: Any) -> None:
    async def work() -> None:
        it = talk(server)
        first, second = await asked(it, 2)
        clock.now += 0.9 * TIMEOUT
        server.says(b"+1\r\n+")
        it._receive()
        clock.now += 0.9 * TIMEOUT
        it._look()
        assert first.result() == b"1" and not it.over
        clock.now += 0.2 * TIMEOUT
        it._look()
        assert it.over and failure(second) is Reason.TIMEOUT

    run(work())


def test_a_reply_that_comes_too_slowly_is_not(run: Loop, server: Server, clock: Any) -> None:
    async def work() -> None:
        it = talk(server)
        (future,) = await asked(it)
        began = clock.now
        server.says(b"+")
        while not it.over:
            assert clock.now < began + (PATIENCE + 1) * TIMEOUT
            clock.now += TIMEOUT / 2
            server.says(b"x")
            it._look()
        assert clock.now >= began + PATIENCE * TIMEOUT and failure(future) is Reason.TIMEOUT

    run(work())


def test_what_a_signal_breaks_off_ends_it(run: Loop, server: Server) -> None:
    """Or the replies that were lost would be missed in the order of those who wait."""

    async def work() -> None:
        for step in ("arrived", "post"):
            it = talk(server)
            (future,) = await asked(it)
            late = it.ask(QUESTION)
            it.wire = Interrupted(it.wire, step)  # type: ignore[assignment]  # a double
            with pytest.raises(KeyboardInterrupt):
                it._receive() if step == "arrived" else it._send()
            assert it.over and failure(future) is failure(late) is Reason.CONNECTION

    run(work())


class Interrupted:
    """A wire in one of whose methods a signal comes."""

    def __init__(self, wire: Wire, method: str) -> None:
        self._wire, self._method = wire, method

    def __getattr__(self, name: str) -> Any:
        return self._raise if name == self._method else getattr(self._wire, name)

    def _raise(self, *_: object) -> None:
        raise KeyboardInterrupt


def test_a_reply_that_was_there_before_the_question_is_not_its_answer(run: Loop, server: Server) -> None:
    async def work() -> None:
        it = talk(server)
        server.says(b"+PONG\r\n")
        future = it.ask(QUESTION)
        it._receive()
        assert it.over and future.exception() is not None

    run(work())


def test_what_the_server_has_no_room_for_yet_is_sent_when_it_has(run: Loop, server: Server) -> None:
    async def work() -> None:
        it, loop = talk(server), asyncio.get_running_loop()
        questions = [pack(("GET", f"{n}".rjust(1000, "k"))) for n in range(1000)]
        futures = [it.ask(question) for question in questions]
        await asyncio.sleep(0)
        assert it._unsent and not it.over
        heard = b""
        while len(heard) < sum(map(len, questions)):
            heard += await loop.sock_recv(server.sockets[0], 1_000_000)
        assert heard == b"".join(questions) and not it._unsent
        await loop.sock_sendall(server.sockets[0], b"".join(b"+%d\r\n" % n for n in range(1000)))
        assert await asyncio.gather(*futures) == [b"%d" % n for n in range(1000)]
        last = it.ask(QUESTION)
        await asyncio.sleep(0)
        server.says(b"+last\r\n")
        assert await last == b"last"
        it.end(None)

    run(work())


def test_what_is_asked_of_a_server_that_was_believed_is_not_sent_much_later(
    run: Loop, server: Server, clock: Any
) -> None:
    async def work() -> None:
        it = talk(server)
        it.wire.believed_until = clock.now
        future = it.ask(QUESTION)
        clock.now += KEPT + 0.001  # something else keeps the loop
        await asyncio.sleep(0)
        assert failure(future) is Reason.BUSY
        with pytest.raises(BlockingIOError):
            server.sockets[0].recv(1)
        it.end(None)

    run(work())


class Making:
    """`Awaited` with what it is given: all is done at once, in the loop, unless it is left in `jobs`."""

    def __init__(self, prepare: Any) -> None:
        self.jobs = list[Any]()
        self.it = Awaited("redis", TIMEOUT, prepare, lambda wire, now: True, lambda wire, error: wire.close())

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
    loop.run_until_complete(making.begin())
    if when == "after its end":
        loop.close()
    making.it.close()
    loop.close()
    assert server.wires[0].sock.fileno() == -1


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
