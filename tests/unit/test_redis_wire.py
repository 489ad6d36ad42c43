"""The time limit of a wire holds whatever comes: signals whose handlers return, a server that takes or gives a little."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.signals import kept_ticking, ticking
from tests.waiting import LIMIT, started
from tests.wires import wire_to_a_test
from tiered.tiers.redis_wire import BUFFER, Wire, pack

TIMEOUT = 0.1
QUESTION = pack(("GET", "k"))
LONG = pack(("SET", "k", b"v" * 8_000_000))
"""More than the sockets take while nobody reads."""


@pytest.fixture
def ends() -> Iterator[tuple[Wire, socket.socket]]:
    """A wire, and the server's end of it, which says nothing and reads nothing by itself."""
    wire, theirs = wire_to_a_test(TIMEOUT)
    yield wire, theirs
    wire.close()
    theirs.close()


def test_a_command_longer_than_the_sockets_have_room_for_is_sent_whole(ends: tuple[Wire, socket.socket]) -> None:
    wire, theirs = ends

    def serve() -> int:
        left = len(LONG)
        while left:
            left -= len(theirs.recv(BUFFER))
        theirs.sendall(b"+OK\r\n")
        return left

    served = started(serve)
    assert wire.ask(LONG) == b"OK" and served.result(LIMIT) == 0


@pytest.mark.parametrize("command", [QUESTION, LONG], ids=["receiving", "sending"])
def test_signals_do_not_prolong_the_wait_for_a_server_that_hangs(
    ends: tuple[Wire, socket.socket], command: bytes
) -> None:
    with ticking(), pytest.raises(TimeoutError):
        ends[0].ask(command)


@pytest.mark.parametrize("command", [QUESTION, LONG], ids=["receiving", "sending"])
def test_nor_do_signals_that_another_thread_gets(ends: tuple[Wire, socket.socket], command: bytes) -> None:
    wire, theirs = ends
    done: Any = kept_ticking(lambda: wire.ask(command), give_up=lambda: theirs.shutdown(socket.SHUT_RDWR))
    assert isinstance(done.exception(LIMIT), TimeoutError)


def test_a_wire_that_was_watched_waits_again(ends: tuple[Wire, socket.socket]) -> None:
    wire, theirs = ends
    wire.waits(False)
    assert wire.arrived() is None and wire.post(LONG) < len(LONG)
    wire.waits(True)
    theirs.sendall(b"+late\r\n")
    assert wire.reply() == b"late"
