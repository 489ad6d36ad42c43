"""One conversation with a Redis server, on a connection that redis-py opened and authenticated.

redis-py's own send and read paths cost as much as the network; from the handshake on, this talks to the socket and to
hiredis itself. There is nearly always room for a command, so it is sent without a poll() before. A reply is waited for with
one: a limit in the kernel (SO_RCVTIMEO) would save it, but begins anew with every signal that a handler, a profiler or a
debugger lets come while a server hangs.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import hiredis
import redis
from redis.exceptions import InvalidResponse

from tiered.lent import Place

Arg = bytes | str
"""No number: `pack_command` turns it into text, and ends the process when a signal handler raises meanwhile."""
BUFFER = 65_536
MAX_REPLY = 256 * 2**20
"""Bytes of a reply: whoever can write to Redis must not be able to fill the memory of who reads."""
PATIENCE = 10
"""A reply that keeps coming, and a large command until it is answered, may take this many times the timeout, and no longer."""
LARGE = 65_536
SLOWEST = 10_000_000
"""Bytes of a large command that a link has to carry in a second: its time is longer by that."""

MOMENT = 0.001
"""Seconds: a time limit that is over, for a socket that would take 0 for "do not wait"."""
_MORE = object()


class TooLong(redis.RedisError):
    """A reply of more bytes than this client takes; the connection is of no use any more."""


_pack: Any = hiredis.pack_command
pack: Callable[[Sequence[Arg]], bytes] = _pack


class Wire:
    """A connection after its handshake. For one thread at a time; broken after any error that is not a reply."""

    __slots__ = (
        *("_buffer", "_came", "_connection", "_feed", "_gets", "_most", "_recv_into", "_send", "_timeout"),
        *("believed_until", "place", "plain", "run", "sock"),
    )

    def __init__(self, connection: Any, timeout: float, most: int = MAX_REPLY) -> None:
        self._connection, self._timeout, self._most = connection, timeout, most
        self.run: str | None = None
        """The server run that it leads to (interned); None before it was greeted."""
        self.believed_until = 0.0
        """Until when (monotonic) it need not be greeted again."""
        self.place: Place | None = None
        """That in its pool."""
        self.sock: socket.socket = connection._sock
        self.plain = not isinstance(self.sock, ssl.SSLSocket)
        """Whether `post` and `arrived` may be used."""
        self.waits(True)
        reader = hiredis.Reader(
            protocolError=InvalidResponse, replyError=connection._parser.parse_error, notEnoughData=_MORE
        )
        self._buffer, self._came = bytearray(BUFFER), 0
        # Of the class: a method of its own would keep a connection that nobody has any more.
        self._send: Callable[[Wire, bytes], None] = Wire._send_plain if self.plain else Wire._send_waiting
        self._recv_into = self.sock.recv_into
        self._gets = reader.gets
        self._feed: Any = reader.feed  # takes any buffer, whatever its stub says

    def ask(self, packed: bytes) -> Any:
        """Send one command and return its reply; raises the server's error, `OSError` or `redis.ConnectionError`."""
        self._send(self, packed)
        reply = self.reply()
        if isinstance(reply, Exception):
            raise reply
        return reply

    def ask_patiently(self, packed: bytes, limits: int) -> Any:
        """As `ask`, within so many time limits: for what the server is busy with for long."""
        timeout, self._timeout = self._timeout, limits * self._timeout
        try:
            self.waits(True)
            return self.ask(packed)
        finally:
            self._timeout = timeout
            self.waits(True)

    def ask_many(self, packed: list[bytes]) -> list[Any]:
        """Send commands at once and return their replies; a server's error is returned in its place."""
        self._send(self, b"".join(packed))
        return [self.reply() for _ in packed]

    def reply(self) -> Any:
        """The next reply; the server's error is returned, not raised."""
        reply, started, received = self._gets(False), 0.0, 0
        while reply is _MORE:
            count = self._recv_into(self._buffer)
            if not count:
                raise redis.ConnectionError("the server closed the connection")
            self._feed(self._buffer, 0, count)
            reply = self._gets(False)
            if reply is _MORE:  # a second chunk: only now is it worth a look at the clock
                received += count
                if received > self._most:
                    raise TooLong(f"a reply of more than {self._most} bytes (max_reply_bytes)")
                now = time.monotonic()
                started = started or now
                if now - started > PATIENCE * self._timeout:
                    raise TimeoutError("the reply keeps coming, but too slowly")
        return reply

    def post(self, packed: bytes) -> int:
        """Send without waiting; how many bytes of it there was room for."""
        try:
            return os.write(self.sock.fileno(), packed)  # `send` would poll() first
        except BlockingIOError:
            return 0

    def arrived(self) -> list[Any] | None:
        """The replies that a chunk of what has come makes whole, a server's error in its place; None if nothing has come.

        Only while it does not wait.
        """
        try:
            count = self._recv_into(self._buffer)
        except BlockingIOError:
            return None
        if not count:
            raise redis.ConnectionError("the server closed the connection")
        self._feed(self._buffer, 0, count)
        replies = list(iter(partial(self._gets, False), _MORE))
        self._came = 0 if replies else self._came + count
        if self._came > self._most:
            raise TooLong(f"a reply of more than {self._most} bytes (max_reply_bytes)")
        return replies

    def waits(self, does: bool) -> None:
        """Whether it waits for the server, as long as its time limit says; else a loop watches it."""
        self.sock.settimeout(self._timeout if does else 0)

    def close(self) -> None:
        """Close the connection; a late reply must never meet the next command."""
        self._connection.disconnect()

    # Private

    def _send_plain(self, packed: bytes) -> None:
        sent = self.post(packed)
        if sent < len(packed) or sent > LARGE:
            self._send_waiting(packed, sent)

    def _send_waiting(self, packed: bytes, sent: int = 0) -> None:
        """Send the rest as the server takes it, and of a large one wait until the answer begins: that has the timeout still."""
        left, size = memoryview(packed)[sent:], len(packed)
        extra = min(size / SLOWEST, (PATIENCE - 1) * self._timeout) if size > LARGE else 0.0
        end = time.monotonic() + extra + self._timeout
        try:
            while left:
                self.sock.settimeout(max(end - time.monotonic(), MOMENT))
                left = left[self.sock.send(left[:BUFFER]) :]
                if time.monotonic() > end:
                    raise TimeoutError("the server takes the command, but too slowly")
        finally:
            self.waits(True)
        if extra:
            answered = select.poll()
            answered.register(self.sock, select.POLLIN)
            answered.poll(max(0.0, end - self._timeout - time.monotonic()) * 1000)


def literal(text: str) -> str:
    """`text` with SCAN's pattern characters escaped."""
    return "".join("\\" + char if char in "*?[]^\\" else char for char in text)
