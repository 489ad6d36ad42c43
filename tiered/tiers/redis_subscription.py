"""What other processes put into a Redis tier, as the put script publishes it (put_if_newer.lua)."""

from __future__ import annotations

import ssl
from struct import Struct
from typing import Any

import hiredis
import redis
from redis.exceptions import InvalidResponse, ResponseError

from tiered.tiers.base import Told
from tiered.tiers.redis_errors import store_error
from tiered.tiers.redis_wire import BUFFER, Wire, pack

_HEAD = Struct(">QI")
_MORE = object()


class RedisSubscription:
    """A connection of its own in subscriber mode. For one thread; raises `StoreUnavailable`."""

    def __init__(self, wire: Wire, prefix: str, name: str) -> None:
        self._wire, self._prefix, self._name = wire, prefix, name
        self._reader = hiredis.Reader(protocolError=InvalidResponse, replyError=ResponseError, notEnoughData=_MORE)
        wire.waits(False)

    def add(self, namespace: str) -> None:
        self._send("SUBSCRIBE", channel(self._prefix, namespace))

    def beat(self) -> None:
        self._send("PING")

    def receive(self) -> list[Told]:
        try:
            self._read()
            told = []
            while (reply := self._reader.gets()) is not _MORE:
                told.append(self._told(reply))
            return told
        except (redis.RedisError, OSError) as error:
            raise store_error(error, self._name, write=False, sent=True) from error

    def close(self) -> None:
        self._wire.close()

    def _send(self, *command: str) -> None:
        try:
            self._wire.sock.sendall(pack(command))
        except OSError as error:
            raise store_error(error, self._name, write=False, sent=True) from error

    def _read(self) -> None:
        """Everything that has arrived; a buffer that was full may have more behind it."""
        while True:
            try:
                data = self._wire.sock.recv(BUFFER)
            except (BlockingIOError, InterruptedError, ssl.SSLWantReadError):
                return
            if not data:
                raise redis.ConnectionError("the server closed the subscription")
            self._reader.feed(data)

    def _told(self, reply: Any) -> Told:
        if isinstance(reply, Exception):
            raise reply
        kind, *rest = reply if isinstance(reply, list) else [reply]
        if kind.lower() == b"pong":
            return Told("alive")
        namespace = rest[0].decode()[len(self._prefix) + 1 :]
        if kind == b"subscribe":
            return Told("subscribed", namespace)
        return Told("told", namespace, self._versions(namespace, rest[1]))

    def _versions(self, namespace: str, message: bytes) -> list[tuple[str, int]]:
        """Keys come as they are in Redis: prefix:namespace:generation:key."""
        skip, at, found = len(f"{self._prefix}:{namespace}:".encode()), 0, []
        while at < len(message):
            version, length = _HEAD.unpack_from(message, at)
            at += _HEAD.size
            found.append((message[at + skip : at + length].decode().partition(":")[2], version))
            at += length
        return found


def channel(prefix: str, namespace: str) -> str:
    """Where the puts of a namespace are published."""
    return f"{prefix}:{namespace}"
