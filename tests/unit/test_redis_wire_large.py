"""A command's time: its timeout, and for a large one what its bytes take on a slow link, but not for ever."""

from __future__ import annotations

import socket
from threading import Event

import pytest

from tests.waiting import LIMIT, started
from tests.wires import wire_to_a_test
from tiered.tiers.redis_wire import PATIENCE, SLOWEST

TIMEOUT = 0.5
LARGE = b"x" * int(2 * PATIENCE * TIMEOUT * SLOWEST)
"""So much that all the time is given to it that there is."""


def slow(server: socket.socket, size: int) -> None:
    """Takes a command of `size` bytes with a pause after half of it, and answers after another."""
    left = size
    while left:
        if left == size // 2:
            Event().wait(2 * TIMEOUT)
        left -= len(server.recv(min(65_536, left - size // 2 if left > size // 2 else left)))
    Event().wait(2 * TIMEOUT)
    server.sendall(b"+OK\r\n")


@pytest.mark.parametrize("many", [False, True])
def test_a_large_command_may_take_longer_than_the_timeout(many: bool) -> None:
    wire, server = wire_to_a_test(TIMEOUT)
    with server:
        serving = started(lambda: slow(server, len(LARGE)))
        assert (wire.ask_many([LARGE]) == [b"OK"]) if many else wire.ask(LARGE) == b"OK"
        serving.result(LIMIT)
        wire.close()


def test_a_small_command_may_not() -> None:
    wire, server = wire_to_a_test(TIMEOUT)
    with server:
        with pytest.raises(TimeoutError):
            wire.ask(b"x" * 1000)
        wire.close()


def trickle(server: socket.socket, done: Event) -> None:
    while not done.wait(TIMEOUT / 10) and server.recv(1000):
        pass


@pytest.mark.parametrize("stands", [True, False])
def test_a_large_command_does_not_take_for_ever(stands: bool) -> None:
    """However often a few of its bytes get through."""
    wire, server = wire_to_a_test(TIMEOUT)
    done = Event()
    with server:
        serving = None if stands else started(lambda: trickle(server, done))
        with pytest.raises(TimeoutError):
            wire.ask(LARGE)
        done.set()
        wire.close()
        if serving is not None:
            serving.result(LIMIT)
