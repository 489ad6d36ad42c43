"""A loop's conversation with a server that the test plays: replies in pieces, too slow, too many, or none."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from tests.loops import FACTORIES, Loop, until
from tiered.errors import Reason, StoreUnavailable
from tiered.tiers.redis_awaited import Conversation
from tiered.tiers.redis_wire import Wire


@pytest.fixture(params=sorted(FACTORIES))
def run(request: pytest.FixtureRequest) -> Loop:
    return Loop(request.param)


class Server:
    """The other end of a conversation, and how that ended."""

    def __init__(self, timeout: float) -> None:
        mine, theirs = socket.socketpair()
        self.socket, self.ended = mine, list[BaseException | None]()
        mine.setblocking(False)
        connection: Any = SimpleNamespace(
            _sock=theirs, _parser=SimpleNamespace(parse_error=redis.ResponseError), disconnect=theirs.close
        )
        wire, loop = Wire(connection, timeout, 1000), asyncio.get_running_loop()
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


def play(run: Loop, work: Callable[[Server], Awaitable[None]], timeout: float = 30.0) -> Server:
    async def begin() -> Server:
        server = Server(timeout)
        await work(server)
        server.conversation.end(None)
        server.conversation.wire.close()
        server.socket.close()
        return server

    return run(begin())


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
        replies = [server.conversation.ask(b"x") for _ in range(3)]
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
