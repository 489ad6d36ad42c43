"""A loop's conversation with a server that the test plays: replies in pieces, too slow, too many, or none."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from tests.loops import FACTORIES, Loop, until
from tests.wires import wire_to_a_test
from tiered.errors import Reason, StoreUnavailable
from tiered.tiers import redis_conversation
from tiered.tiers.redis_conversation import KEPT, Conversation
from tiered.tiers.redis_wire import PATIENCE, Wire, pack

TIMEOUT = 1.0
QUESTION = pack(("GET", "k"))


@pytest.fixture(params=sorted(FACTORIES))
def run(request: pytest.FixtureRequest) -> Loop:
    return Loop(request.param)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(redis_conversation, "monotonic", lambda: clock.now)
    return clock


class Server:
    """The other end of a conversation, and how that ended."""

    def __init__(self, timeout: float, most: int) -> None:
        wire, self.socket = wire_to_a_test(timeout, most)
        self.ended = list[BaseException | None]()
        self.socket.setblocking(False)
        loop = asyncio.get_running_loop()
        self.conversation = Conversation("redis", loop, wire, timeout, lambda _, error: self.ended.append(error))

    def asked(self) -> bytes:
        return self.socket.recv(100_000)

    async def drip(self, reply: bytes, seconds: float) -> None:
        """Send `reply` byte by byte."""
        for byte in reply:
            if self.ended:
                return
            self.socket.send(bytes([byte]))
            await asyncio.sleep(seconds)


def play(run: Loop, work: Callable[[Server], Awaitable[None]], timeout: float = 30.0, most: int = 1000) -> Server:
    async def begin() -> Server:
        server = Server(timeout, most)
        await work(server)
        server.conversation.end(None)
        server.conversation.wire.close()
        server.socket.close()
        return server

    return run(begin())


async def asked(it: Conversation, count: int = 1) -> list[asyncio.Future[Any]]:
    futures = [it.ask(QUESTION) for _ in range(count)]
    await asyncio.sleep(0)
    return futures


def failure(future: asyncio.Future[Any]) -> Reason:
    error = future.exception()
    assert isinstance(error, StoreUnavailable)
    return error.reason


def test_a_reply_in_pieces_is_one_and_the_next_follows_in_the_same_piece(run: Loop) -> None:
    async def work(server: Server) -> None:
        first, second = server.conversation.ask(b"1"), server.conversation.ask(b"2")
        await asyncio.sleep(0)
        assert server.asked() == b"12"
        for piece in (b"$5\r\nhe", b"llo", b"\r\n$2\r", b"\nok\r\n"):
            server.socket.send(piece)
            await asyncio.sleep(0.001)
        assert await first == b"hello" and await second == b"ok"

    assert play(run, work).ended == [None]


def test_a_reply_that_keeps_coming_may_take_longer_than_the_timeout(run: Loop) -> None:
    async def work(server: Server) -> None:
        loop = asyncio.get_running_loop()
        reply, began = server.conversation.ask(b"1"), loop.time()
        await server.drip(b"$40\r\n" + b"x" * 40 + b"\r\n", 0.02)
        assert await reply == b"x" * 40 and loop.time() - began > 0.4

    assert play(run, work, timeout=0.4).ended == [None]


def test_one_that_does_not_end_is_given_up(run: Loop) -> None:
    async def work(server: Server) -> None:
        reply = server.conversation.ask(b"1")
        dripping = asyncio.ensure_future(server.drip(b"$900\r\n" + b"x" * 800, 0.005))
        with pytest.raises(StoreUnavailable) as caught:
            await reply
        assert caught.value.reason is Reason.TIMEOUT
        await dripping

    (ended,) = play(run, work, timeout=0.05).ended
    assert isinstance(ended, TimeoutError)


def test_one_that_does_not_come_is_given_up_and_each_hears_it_for_itself(run: Loop) -> None:
    async def work(server: Server) -> None:
        results = await asyncio.gather(*(server.conversation.ask(b"x") for _ in range(40)), return_exceptions=True)
        assert len({id(it) for it in results}) == 40
        assert all(isinstance(it, StoreUnavailable) and it.reason is Reason.TIMEOUT for it in results)

    assert len(play(run, work, timeout=0.05).ended) == 1


def test_what_came_while_the_loop_was_kept_from_looking_counts(run: Loop) -> None:
    async def work(server: Server) -> None:
        replies = [server.conversation.ask(b"x") for _ in range(40)]
        await asyncio.sleep(0)
        server.socket.send(b"+OK\r\n" * 40)
        time.sleep(0.2)  # the loop, not the server
        assert await asyncio.gather(*replies) == [b"OK"] * 40

    assert play(run, work, timeout=0.1).ended == [None]


def test_an_error_is_its_own_askers(run: Loop) -> None:
    async def work(server: Server) -> None:
        replies = await asked(server.conversation, 3)
        server.socket.send(b"+1\r\n-WRONGTYPE no\r\n+3\r\n")
        first, second, third = await asyncio.gather(*replies, return_exceptions=True)
        assert (first, third) == (b"1", b"3") and isinstance(second, StoreUnavailable)

    assert play(run, work).ended == [None]


@pytest.mark.parametrize("bytes_", [b"", b"+1\r\n+2\r\n", b"nonsense\r\n", b"$2000\r\n" + b"x" * 1500])
def test_what_is_no_reply_ends_it(run: Loop, bytes_: bytes) -> None:
    async def work(server: Server) -> None:
        reply = server.conversation.ask(b"x")
        await asyncio.sleep(0)
        server.socket.send(bytes_) if bytes_ else server.socket.close()
        await until(lambda: server.ended, "the end")
        with pytest.raises(StoreUnavailable):
            await reply
        assert server.conversation.over

    (ended,) = play(run, work).ended
    assert isinstance(ended, redis.RedisError | OSError)


def test_leaving_waits_for_what_was_asked(run: Loop) -> None:
    async def work(server: Server) -> None:
        reply = server.conversation.ask(b"x")
        server.conversation.leave()
        await asyncio.sleep(0)
        assert not server.ended
        server.socket.send(b"+1\r\n")
        assert await reply == b"1" and server.ended == [None]

    play(run, work)


def test_a_loop_that_was_kept_from_looking_finds_all_its_replies(run: Loop, clock: Any) -> None:
    async def work(server: Server) -> None:
        it = server.conversation
        futures = await asked(it, 5)
        server.socket.send(b"$30000\r\n" + b"x" * 30_000 + b"\r\n")
        for _ in range(4):
            server.socket.send(b"$20000\r\n" + b"x" * 20_000 + b"\r\n")
        clock.now += 100 * TIMEOUT
        it._look()
        assert [len(future.result()) for future in futures] == [30_000, *[20_000] * 4] and not it.over

    play(run, work, timeout=TIMEOUT, most=100_000)


def test_replies_that_keep_coming_are_waited_for(run: Loop, clock: Any) -> None:
    async def work(server: Server) -> None:
        it = server.conversation
        first, second = await asked(it, 2)
        clock.now += 0.9 * TIMEOUT
        server.socket.send(b"+1\r\n+")
        it._receive()
        clock.now += 0.9 * TIMEOUT
        it._look()
        assert first.result() == b"1" and not it.over
        clock.now += 0.2 * TIMEOUT
        it._look()
        assert it.over and failure(second) is Reason.TIMEOUT

    play(run, work, timeout=TIMEOUT)


def test_a_reply_that_comes_too_slowly_is_not(run: Loop, clock: Any) -> None:
    async def work(server: Server) -> None:
        it = server.conversation
        (future,) = await asked(it)
        began = clock.now
        server.socket.send(b"+")
        while not it.over:
            assert clock.now < began + (PATIENCE + 1) * TIMEOUT
            clock.now += TIMEOUT / 2
            server.socket.send(b"x")
            it._look()
        assert clock.now >= began + PATIENCE * TIMEOUT and failure(future) is Reason.TIMEOUT

    play(run, work, timeout=TIMEOUT)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, TimeoutError])
@pytest.mark.parametrize("step", ["arrived", "post"])
def test_what_a_signal_breaks_off_ends_it(run: Loop, step: str, kind: type[BaseException]) -> None:
    """Or the replies that were lost would be missed in the order of those who wait. What was raised is none of their tasks'."""

    def handler(number: int, frame: object) -> None:
        raise kind

    async def work(server: Server) -> None:
        it = server.conversation
        (future,) = await asked(it)
        late = it.ask(QUESTION)
        it.wire = Interrupted(it.wire, step)  # type: ignore[assignment]  # a double
        with pytest.raises(kind):
            it._receive() if step == "arrived" else it._send()
        assert it.over and failure(future) is failure(late) is Reason.CONNECTION

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        play(run, work)
    finally:
        signal.signal(signal.SIGUSR1, before)


class Interrupted:
    """A wire in one of whose methods a signal comes."""

    def __init__(self, wire: Wire, method: str) -> None:
        self._wire, self._method = wire, method

    def __getattr__(self, name: str) -> Any:
        return self._raise if name == self._method else getattr(self._wire, name)

    def _raise(self, *_: object) -> None:
        signal.raise_signal(signal.SIGUSR1)


def test_a_reply_that_was_there_before_the_question_is_not_its_answer(run: Loop) -> None:
    async def work(server: Server) -> None:
        it = server.conversation
        server.socket.send(b"+PONG\r\n")
        future = it.ask(QUESTION)
        it._receive()
        assert it.over and future.exception() is not None

    play(run, work, timeout=TIMEOUT)


def test_what_the_server_has_no_room_for_yet_is_sent_when_it_has(run: Loop) -> None:
    async def work(server: Server) -> None:
        it, loop = server.conversation, asyncio.get_running_loop()
        questions = [pack(("GET", f"{n}".rjust(1000, "k"))) for n in range(1000)]
        futures = [it.ask(question) for question in questions]
        await asyncio.sleep(0)
        assert it._unsent and not it.over
        heard = b""
        while len(heard) < sum(map(len, questions)):
            heard += await loop.sock_recv(server.socket, 1_000_000)
        assert heard == b"".join(questions) and not it._unsent
        await loop.sock_sendall(server.socket, b"".join(b"+%d\r\n" % n for n in range(1000)))
        assert await asyncio.gather(*futures) == [b"%d" % n for n in range(1000)]
        last = it.ask(QUESTION)
        await asyncio.sleep(0)
        server.socket.send(b"+last\r\n")
        assert await last == b"last"

    play(run, work, timeout=TIMEOUT)


def test_what_is_asked_of_a_server_that_was_believed_is_not_sent_much_later(run: Loop, clock: Any) -> None:
    async def work(server: Server) -> None:
        it = server.conversation
        it.wire.believed_until = clock.now
        future = it.ask(QUESTION)
        clock.now += KEPT + 0.001  # something else keeps the loop
        await asyncio.sleep(0)
        assert failure(future) is Reason.BUSY
        with pytest.raises(BlockingIOError):
            server.socket.recv(1)

    play(run, work, timeout=TIMEOUT)
