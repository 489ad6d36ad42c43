"""Reads of the tasks of an event loop: sent together at the end of its turn, answered when the replies come, on no thread."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from math import inf
from time import monotonic
from typing import Any

import redis
from redis.exceptions import InvalidResponse

from tiered.tiers.redis_errors import store_error
from tiered.tiers.redis_wire import PATIENCE, Wire

HEAD_START = 32
"""Commands that do not wait for the end of the loop's turn: the server works on them while the next ones come."""
SELDOM = 0.5
"""Seconds; a loop that asks no oftener keeps no connection of its own."""
CLOSED = redis.ConnectionError("the tier was closed")


class Conversation:
    """Of one loop, and to be used in it only, on a wire that it has for itself.

    When it is over, `ended` gets what ended it: None, if the wire is as good as before.
    """

    def __init__(
        self,
        name: str,
        loop: asyncio.AbstractEventLoop,
        wire: Wire,
        timeout: float,
        ended: Callable[[Wire, BaseException | None], None],
    ) -> None:
        self.wire = wire
        self._name, self._loop, self._timeout, self._ended = name, loop, timeout, ended
        self._outbox: list[bytes] = []
        self._waiting: deque[asyncio.Future[Any]] = deque()  # in the order of the replies
        self._sent: deque[tuple[int, float]] = deque()  # of each request: how many were asked with it, and when
        self._asked = self._answered = 0
        self._heard = 0.0
        """When bytes came last."""
        self._timer: asyncio.TimerHandle | None = None
        self._leaving = self.over = False
        loop.add_reader(wire.sock, self._receive)

    def ask(self, packed: bytes) -> asyncio.Future[Any]:
        """The reply; its exception is a `StoreError`."""
        future = self._loop.create_future()
        if not self._outbox:
            self._loop.call_soon(self._send)
        self._outbox.append(packed)
        self._waiting.append(future)
        if len(self._outbox) == HEAD_START:
            self._send()
        return future

    def leave(self) -> None:
        """Be over as soon as all that was asked is answered; ask nothing any more."""
        self._leaving = True
        if not self._waiting:
            self.end(None)

    def end(self, error: BaseException | None) -> None:
        """Be over now, with `error` for those who wait."""
        if self.over:
            return
        self.over = True
        self._loop.remove_reader(self.wire.sock)
        self.wire.sock.settimeout(None)  # uvloop has made it one that never waits
        if self._timer is not None:
            self._timer.cancel()
        self._ended(self.wire, error)
        while self._waiting:
            self._failed(self._waiting.popleft(), error or CLOSED)

    # Private

    def _send(self) -> None:
        outbox, self._outbox = self._outbox, []
        if self.over or not outbox:
            return
        self._asked += len(outbox)
        self._sent.append((self._asked, monotonic()))
        try:
            self.wire.post(b"".join(outbox))
        except Exception as error:
            self.end(error)
            return
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout, self._look)

    def _receive(self) -> None:
        try:
            replies = self.wire.arrived()
            self._heard = monotonic()
            self._take(replies)
        except BlockingIOError:
            return  # a loop may be told so without need
        except Exception as error:
            self.end(error)
        else:
            if self._leaving:
                self.leave()

    def _take(self, replies: list[Any]) -> None:
        if len(replies) > len(self._waiting):
            raise InvalidResponse("a reply that nobody asked for")
        for reply in replies:
            future = self._waiting.popleft()
            if isinstance(reply, Exception):
                self._failed(future, reply)
            elif not future.done():  # its task was not cancelled
                future.set_result(reply)
        self._answered += len(replies)
        while self._sent and self._sent[0][0] <= self._answered:
            self._sent.popleft()

    def _look(self) -> None:
        """Whether the oldest request has waited too long: nothing comes, or it does not end."""
        self._timer = None
        self._receive()  # a loop that was kept from looking until now may find its replies there
        if self.over or not self._sent:
            return
        began = self._sent[0][1]
        left = min(max(began, self._heard) + self._timeout, began + PATIENCE * self._timeout) - monotonic()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            self.end(TimeoutError("no answer in time"))

    def _failed(self, future: asyncio.Future[Any], error: BaseException) -> None:
        if not future.done():
            told = store_error(error, self._name, write=False, sent=True)  # its own: a traceback belongs to one task
            told.__cause__ = error
            future.set_exception(told)


class _Seat:
    """What a loop has: a conversation, or a wire for the next one, or somebody who gets one ready."""

    def __init__(self) -> None:
        self.conversation: Conversation | None = None
        self.wire: Wire | None = None
        self.preparing = False
        self.asked_at = -inf


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
        if now - before < SELDOM and not seat.preparing and seat.conversation is None and not self._closed:
            seat.preparing = True
            later(lambda: self._get_ready(loop, seat))
        return None

    def wires(self) -> list[Wire]:
        """Those that loops have."""
        seats = self._seats.values()
        talking = [seat.conversation.wire for seat in seats if seat.conversation is not None]
        return talking + [seat.wire for seat in seats if seat.wire is not None]

    def close(self) -> None:
        """End every conversation; from any thread. Idempotent."""
        self._closed = True
        for loop, seat in list(self._seats.items()):
            self._end(loop, seat)

    # Private

    def _new_seat(self, loop: asyncio.AbstractEventLoop) -> _Seat:
        for other, seat in list(self._seats.items()):
            if other.is_closed():
                del self._seats[other]
                self._end(other, seat)
        return self._seats.setdefault(loop, _Seat())

    def _end(self, loop: asyncio.AbstractEventLoop, seat: _Seat) -> None:
        it, wire = seat.conversation, seat.wire
        if wire is not None:
            seat.wire = None
            self._discard(wire, None)
        if it is None:
            return
        try:
            loop.call_soon_threadsafe(it.end, CLOSED)
        except RuntimeError:  # the loop was closed, and its tasks are gone
            self._discard(it.wire, None)

    def _get_ready(self, loop: asyncio.AbstractEventLoop, seat: _Seat) -> None:
        """On a thread."""
        wire, seat.wire = seat.wire, None
        try:
            wire = self._prepare(wire)
        except Exception:  # whoever asks on threads finds out as well, and counts it
            seat.preparing = False
            return
        try:
            loop.call_soon_threadsafe(self._begin, loop, seat, wire)
        except RuntimeError:  # as above
            self._discard(wire, None)

    def _begin(self, loop: asyncio.AbstractEventLoop, seat: _Seat, wire: Wire) -> None:
        if self._closed or not wire.plain:  # over TLS what arrives is not yet a reply: threads go on asking
            self._discard(wire, None)
            return
        try:
            seat.conversation = Conversation(self._name, loop, wire, self._timeout, partial(self._ended, seat))
        except NotImplementedError:  # a loop that cannot watch sockets: threads go on asking
            self._discard(wire, None)
            return
        seat.preparing = False

    def _ended(self, seat: _Seat, wire: Wire, error: BaseException | None) -> None:
        seat.conversation = None
        if error is None and not self._closed:
            seat.wire = wire
        else:
            self._discard(wire, error)
