"""A wire whose server is the test: one end of a pair of sockets."""

from __future__ import annotations

import socket
from math import inf
from types import SimpleNamespace
from typing import Any

from redis import ResponseError

from tiered.tiers.redis_wire import MAX_REPLY, Wire


def wire_to_a_test(timeout: float, most: int = MAX_REPLY) -> tuple[Wire, socket.socket]:
    """The wire, believed for ever, and the server's end."""
    mine, theirs = socket.socketpair()
    connection: Any = SimpleNamespace(
        _sock=mine, _parser=SimpleNamespace(parse_error=ResponseError), disconnect=mine.close
    )
    wire = Wire(connection, timeout, most)
    wire.believed_until = inf
    return wire, theirs
