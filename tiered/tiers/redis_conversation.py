"""One loop's conversation with a Redis server: questions sent together at the end of a turn, on no thread."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

import redis
from redis.exceptions import InvalidResponse

from tiered.errors import Reason, StoreUnavailable
from tiered.handlers import raised_by_handler
from tiered.tiers.redis_errors import store_error
from tiered.tiers.redis_wire import PATIENCE, Wire

HEAD_START = 32
"""Commands that do not wait for the end of the loop's turn: the server works on them while the next ones come."""
KEPT = 0.5
"""Seconds for which something else may keep the loop from sending what it asked of a connection that was believed then."""
CLOSED = redis.ConnectionError("the tier was closed")


class Conversation:
    """Of one loop, and to be used in it only, on a wire that it has for itself.

    A server that owes replies and says nothing for `timeout` ends it, or one that takes `PATIENCE` times as long for one of them.
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
        self._outbox: list[tuple[bytes, asyncio.Future[Any]]] = []
        self._waiting: deque[tuple[asyncio.Future[Any], float]] = deque()  # in the order of the replies; since when
        self._unsent = b""  # of those, what the server's side has no room for yet
        self._heard = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._leaving = self.over = False
        loop.add_reader(wire.sock, self._receive)
        wire.waits(False)

    def ask(self, packed: bytes) -> asyncio.Future[Any]:
        """The reply; its exception is a `StoreError`."""
        future = self._loop.create_future()
        if not self._outbox:
            self._loop.call_soon(self._send)
        self._outbox.append((packed, future))
        if len(self._outbox) == HEAD_START:
            self._send()
        return future

    def leave(self) -> None:
        """Be over as soon as all that was asked is answered; ask nothing any more."""
        self._leaving = True
        if not self._outbox and not self._waiting:
            self.end(None)

    def end(self, error: BaseException | None) -> None:
        """Be over now, with `error` for those who wait."""
        if self.over:
            return
        self.over = True
        self._loop.remove_reader(self.wire.sock)
        if self._unsent:
            self._loop.remove_writer(self.wire.sock)
        self.wire.waits(True)
        if self._timer is not None:
            self._timer.cancel()
        self._ended(self.wire, error)
        for future in [future for future, _ in self._waiting] + [future for _, future in self._outbox]:
            self._failed(future, error or CLOSED)
        self._waiting.clear()
        self._outbox.clear()

    # Private

    def _send(self) -> None:
        if self._outbox:
            self._step(self._post_all)

    def _receive(self) -> bool:
        """Whether anything came."""
        came = self._step(self._take)
        if self._leaving:
            self.leave()
        return came

    def _step(self, step: Callable[[], bool]) -> bool:
        """A step that breaks off in the middle ends it: no reply must ever meet another one's question."""
        try:
            return not self.over and step()
        except BaseException as error:
            if not isinstance(error, Exception) or raised_by_handler(error) is not None:
                self.end(CLOSED)
                raise
            self.end(error)
        return False

    def _post_all(self) -> bool:
        now = monotonic()
        if now > self.wire.believed_until + KEPT:
            self._refuse_all()
            return False
        if not self._waiting:
            self._heard = now
        packed = b"".join([packed for packed, _ in self._outbox])
        self._waiting.extend([(future, now) for _, future in self._outbox])
        self._outbox.clear()
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout, self._look)
        if self._unsent:
            self._unsent += packed
        else:
            self._post(packed)
        return True

    def _refuse_all(self) -> None:
        while self._outbox:
            _, future = self._outbox.pop()
            if not future.done():
                message = "the event loop was kept from asking in time by something else that runs in it"
                future.set_exception(StoreUnavailable(message, tier=self._name, reason=Reason.BUSY))

    def _post(self, packed: bytes) -> None:
        before, self._unsent = self._unsent, packed[self.wire.post(packed) :]
        if self._unsent and not before:
            self._loop.add_writer(self.wire.sock, self._step, self._post_rest)
        elif before and not self._unsent:
            self._loop.remove_writer(self.wire.sock)

    def _post_rest(self) -> bool:
        self._post(self._unsent)
        return True

    def _take(self) -> bool:
        replies = self.wire.arrived()
        if replies is None:
            return False
        self._heard = monotonic()
        if len(replies) > len(self._waiting):
            raise InvalidResponse("a reply that nobody asked for")
        for reply in replies:
            future, _ = self._waiting[0]
            if isinstance(reply, Exception):
                self._failed(future, reply)
            elif not future.done():  # its task was not cancelled
                future.set_result(reply)
            self._waiting.popleft()  # now: whom a signal kept from being told, `end` tells
        return True

    def _look(self) -> None:
        """Whether the server has been silent, or an answer on its way, for too long."""
        self._timer = None
        while self._receive():
            pass  # a loop that was kept from looking until now finds its replies there
        if self.over or not self._waiting:
            return
        left = min(self._heard, self._waiting[0][1] + (PATIENCE - 1) * self._timeout) + self._timeout - monotonic()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            self.end(TimeoutError("no answer in time"))

    def _failed(self, future: asyncio.Future[Any], error: BaseException) -> None:
        if not future.done():
            told = store_error(error, self._name, write=False, sent=True)  # its own: a traceback belongs to one task
            told.__cause__ = error
            future.set_exception(told)
