"""Reads of the tasks of an event loop: sent together at the end of its turn, answered when the replies come, on no thread."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from math import inf
from time import monotonic

from tiered.tiers.redis_conversation import CLOSED, Conversation
from tiered.tiers.redis_wire import Wire

SELDOM = 0.5
"""Seconds; a loop that asks no oftener keeps no connection of its own."""


class _Seat:
    """What a loop has: a conversation, or a wire for the next one, or somebody who gets one ready."""

    def __init__(self) -> None:
        self.conversation: Conversation | None = None
        self.spare: deque[Wire] = deque(maxlen=1)  # of whoever pops it: several threads may try to
        self.preparing = False
        self.asked_at = self.failed_at = -inf


class Awaited:
    """The conversations of event loops with one server; for any number of loops, each on a thread of its own.

    `prepare` gives a connection that may be believed: the one it is given, or a new one. It may block. `believed` says
    whether one still may at a moment (monotonic), and `discard` closes one, after an error or because nobody needs it.
    """

    def __init__(
        self,
        name: str,
        timeout: float,
        prepare: Callable[[Wire | None], Wire],
        believed: Callable[[Wire, float], bool],
        discard: Callable[[Wire, BaseException | None], None],
    ) -> None:
        self._name, self._timeout = name, timeout
        self._prepare, self._believed, self._discard = prepare, believed, discard
        self._seats: dict[asyncio.AbstractEventLoop, _Seat] = {}
        self._closed = False

    def conversation(self, later: Callable[[Callable[[], None]], None]) -> Conversation | None:
        """The running loop's. None until it has one: for a loop that asks often, `later` has it prepared on a thread."""
        loop, now = asyncio.get_running_loop(), monotonic()
        seat = self._seats.get(loop)
        if seat is None:
            seat = self._new_seat(loop)
        it, before, seat.asked_at = seat.conversation, seat.asked_at, now
        if it is not None:
            if not it.over and self._believed(it.wire, now):
                return it
            it.leave()
        often, may = now - before < SELDOM, now - seat.failed_at > SELDOM
        if often and may and not seat.preparing and seat.conversation is None and not self._closed:
            seat.preparing = True
            later(lambda: self._get_ready(loop, seat))
        return None

    def wires(self) -> list[Wire]:
        """Those that loops have."""
        seats = self._seats.values()
        talking = [seat.conversation.wire for seat in seats if seat.conversation is not None]
        return talking + [wire for seat in seats for wire in seat.spare]

    def close(self) -> None:
        """End every conversation; from any thread. Idempotent."""
        self._closed = True
        for loop, seat in list(self._seats.items()):
            self._end(loop, seat)

    # Private

    def _new_seat(self, loop: asyncio.AbstractEventLoop) -> _Seat:
        for other in list(self._seats):
            if other.is_closed() and (seat := self._seats.pop(other, None)) is not None:
                self._end(other, seat)
        return self._seats.setdefault(loop, _Seat())

    def _end(self, loop: asyncio.AbstractEventLoop, seat: _Seat) -> None:
        self._drop_spare(seat)
        it = seat.conversation
        if it is None:
            return
        try:
            if not loop.is_running():  # it may never run again
                it.end(CLOSED)
            loop.call_soon_threadsafe(it.end, CLOSED)  # or it runs by now, and sleeps: those who wait are to wake up
        except RuntimeError:  # the loop was closed, and its tasks are gone
            self._discard(it.wire, None)

    def _drop_spare(self, seat: _Seat) -> None:
        if (wire := _pop(seat.spare)) is not None:
            self._discard(wire, None)

    def _keep(self, seat: _Seat, wire: Wire) -> None:
        seat.spare.append(wire)
        if self._closed:  # whoever closes comes before this line and is seen, or after it and sees the wire
            self._drop_spare(seat)

    def _get_ready(self, loop: asyncio.AbstractEventLoop, seat: _Seat) -> None:
        """On a thread."""
        try:
            wire = self._prepare(_pop(seat.spare))
        except Exception:  # whoever asks on threads finds out as well, and counts it
            seat.failed_at, seat.preparing = monotonic(), False
            return
        self._keep(seat, wire)
        try:
            loop.call_soon_threadsafe(self._begin, loop, seat)
        except RuntimeError:  # as above
            self._drop_spare(seat)

    def _begin(self, loop: asyncio.AbstractEventLoop, seat: _Seat) -> None:
        wire = _pop(seat.spare)
        if wire is None:
            return  # closed
        if not wire.plain or not self._talk(loop, seat, wire):  # over TLS what arrives is not yet a reply
            self._discard(wire, None)
            return  # still preparing: threads go on asking
        seat.preparing = False
        if self._closed and seat.conversation is not None:  # as in `_keep`
            seat.conversation.end(CLOSED)

    def _talk(self, loop: asyncio.AbstractEventLoop, seat: _Seat, wire: Wire) -> bool:
        """Whether this is a loop that can watch sockets."""
        try:
            seat.conversation = Conversation(self._name, loop, wire, self._timeout, partial(self._ended, seat))
        except NotImplementedError:
            return False
        return True

    def _ended(self, seat: _Seat, wire: Wire, error: BaseException | None) -> None:
        seat.conversation = None
        if error is None:
            self._keep(seat, wire)
        else:
            self._discard(wire, error)


def _pop(spare: deque[Wire]) -> Wire | None:
    try:
        return spare.pop()
    except IndexError:
        return None
