"""One conversation with a Redis server, on a connection that redis-py opened and authenticated.

redis-py's own send and read paths cost as much as the network; from the handshake on, this talks to the socket and to
hiredis itself. A plain socket keeps its time limit in the kernel, which saves a poll() before every send and receive.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import hiredis
import redis
from redis.exceptions import InvalidResponse

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

_MORE = object()


class TooLong(redis.RedisError):
    """A reply of more bytes than this client takes; the connection is of no use any more."""


_pack: Any = hiredis.pack_command
pack: Callable[[Sequence[Arg]], bytes] = _pack


class Wire:
    """A connection after its handshake. For one thread at a time; broken after any error that is not a reply."""

    __slots__ = (
        *("_buffer", "_came", "_connection", "_feed", "_gets", "_most", "_recv_into", "_send", "_timeout"),
        *("believed_until", "plain", "run", "sock"),
    )

    def __init__(self, connection: Any, timeout: float, most: int = MAX_REPLY) -> None:
        self._connection, self._timeout, self._most = connection, timeout, most
        self.run: str | None = None
        """The server run that it leads to (interned); None before it was greeted."""
        self.believed_until = 0.0
        """Until when (monotonic) it need not be greeted again."""
        self.sock: socket.socket = connection._sock
        self.plain = not isinstance(self.sock, ssl.SSLSocket)
        """Whether `post` and `arrived` may be used."""
        if self.plain:
            self.sock.settimeout(None)
            limit = struct.pack("ll", int(timeout), int(timeout % 1 * 1e6))
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        reader = hiredis.Reader(
            protocolError=InvalidResponse, replyError=connection._parser.parse_error, notEnoughData=_MORE
        )
        self._buffer, self._came = bytearray(BUFFER), 0
        self._send, self._recv_into = self.sock.sendall, self.sock.recv_into
        self._gets = reader.gets
        self._feed: Any = reader.feed  # takes any buffer, whatever its stub says

    def ask(self, packed: bytes) -> Any:
        """Send one command and return its reply; raises the server's error, `OSError` or `redis.ConnectionError`."""
        if len(packed) > LARGE:
            self._send_large(packed)
        else:
            self._send(packed)
        reply = self.reply()
        if isinstance(reply, Exception):
            raise reply
        return reply

    def ask_many(self, packed: list[bytes]) -> list[Any]:
        """Send commands at once and return their replies; a server's error is returned in its place."""
        together = b"".join(packed)
        if len(together) > LARGE:
            self._send_large(together)
        else:
            self._send(together)
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
            return self.sock.send(packed, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    def arrived(self) -> list[Any] | None:
        """The replies that a chunk of what has come makes whole, a server's error in its place; None if nothing has come."""
        try:
            count = self._recv_into(self._buffer, 0, socket.MSG_DONTWAIT)
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

    def _send_large(self, packed: bytes) -> None:
        """Send, and wait until the answer begins or only the timeout is left of the time."""
        until = time.monotonic() + min(len(packed) / SLOWEST, (PATIENCE - 1) * self._timeout)
        left = memoryview(packed)
        while left:
            with suppress(BlockingIOError, TimeoutError):  # no room for any of it within the timeout
                left = left[self.sock.send(left) :]
            if left and time.monotonic() > until:
                raise TimeoutError("the command leaves too slowly")
        answered = select.poll()
        answered.register(self.sock, select.POLLIN)
        answered.poll(max(0.0, until - time.monotonic()) * 1000)

    def close(self) -> None:
        """Close the connection; a late reply must never meet the next command."""
        self._connection.disconnect()
