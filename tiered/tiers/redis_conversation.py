"""One loop's conversation with a Redis server, on no thread."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any

import redis
from redis.exceptions import InvalidResponse

from tiered.errors import StoreError
from tiered.tiers.redis_errors import store_error
from tiered.tiers.redis_wire import PATIENCE, Wire

CLOSED = redis.ConnectionError("the connection was closed")


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
        self._waiting: deque[tuple[Callable[[Any], None], float]] = deque()  # in the order of the replies; since when
        self._unsent = b""  # of those, what the server's side has no room for yet
        self._heard = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._leaving = self.over = False
        loop.add_reader(wire.sock, self._receive)

    def ask(self, packed: bytes, answered: Callable[[Any], None]) -> None:
        """Send a command. `answered` is told the reply or a `StoreError`; and an error besides, if a signal broke it off."""
        if not self._waiting:
            self._receive()  # what is there already is no answer to this
            self._heard = monotonic()
        if self.over:
            answered(self._told(CLOSED))
        else:
            self._step(partial(self._put, packed, answered))

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
        if self._unsent:
            self._loop.remove_writer(self.wire.sock)
        self.wire.sock.settimeout(None)  # uvloop has made it one that never waits
        if self._timer is not None:
            self._timer.cancel()
        self._ended(self.wire, error)
        while self._waiting:
            answered, _ = self._waiting.popleft()
            answered(self._told(error or CLOSED))

    # Private

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
        except Exception as error:
            self.end(error)
        except BaseException:  # a signal's
            self.end(CLOSED)
            raise
        return False

    def _put(self, packed: bytes, answered: Callable[[Any], None]) -> bool:
        self._waiting.append((answered, monotonic()))
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout, self._look)
        if self._unsent:
            self._unsent += packed
            return True
        return self._post(packed)

    def _post(self, packed: bytes) -> bool:
        before, self._unsent = self._unsent, packed[self.wire.post(packed) :]
        if self._unsent and not before:
            self._loop.add_writer(self.wire.sock, self._step, self._post_rest)
        elif before and not self._unsent:
            self._loop.remove_writer(self.wire.sock)
        return True

    def _post_rest(self) -> bool:
        return self._post(self._unsent)

    def _take(self) -> bool:
        replies = self.wire.arrived()
        if replies is None:
            return False
        self._heard = monotonic()
        if len(replies) > len(self._waiting):
            raise InvalidResponse("a reply that nobody asked for")
        for reply in replies:
            answered, _ = self._waiting[0]
            answered(self._told(reply) if isinstance(reply, Exception) else reply)
            self._waiting.popleft()  # now: had a signal broken it off, `end` would tell whoever still waits
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

    def _told(self, error: BaseException) -> StoreError:
        """An error of its own for each: a traceback belongs to one task."""
        told = store_error(error, self._name, write=False, sent=True)
        told.__cause__ = error
        return told
