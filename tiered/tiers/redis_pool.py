"""A bounded LIFO pool of connections to one Redis server, each held to one run of the server.

Here driver errors become `StoreError`, once.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from threading import Condition, Lock
from typing import Any

import redis
from redis.exceptions import ReadOnlyError, ResponseError

from tiered.errors import NotApplied, Reason, StoreError, StoreUnavailable
from tiered.handlers import pass_on
from tiered.lent import Lent, Place
from tiered.tiers.redis_errors import Restarted, reason_of, store_error
from tiered.tiers.redis_url import Target
from tiered.tiers.redis_wire import Wire, pack

BELIEF = 0.5
"""Seconds for which a connection is used on what its server has said of itself: a master that becomes a replica leaves
its connections open, and answers from whatever its new master had. About 0.1 ms of every half second of use."""
_CLOSING = "Protocol error"
_HANDSHAKE = [pack(("INFO", "server")), pack(("INFO", "replication")), pack(("TIME",))]


class Pool:
    """Thread-safe; connects on first use. What is lent is given back, or goes to `failure`."""

    def __init__(self, target: Target, *, name: str, timeout: float, max_connections: int) -> None:
        self.name, self._target, self._timeout, self._limit = name, target, timeout, max_connections
        self.reset()

    def reset(self) -> None:
        """Start without connections: at first, and in a child after a fork."""
        self.idle: deque[Wire] = deque()
        self.opened, self._waiting = Lent[Place](), 0
        # Guards the two. Entered by itself: a signal may raise in a condition's __enter__.
        self._places = Lock()
        self._returned = Condition(self._places)  # notified when a connection or a place comes back
        self._closed = False
        self.ahead = 0.0
        """The server's clock less this process' monotonic one, in seconds; 0.0 if it is not known."""
        self.reached = ""
        """The run that was greeted last, believed or not."""
        self.run_id: str | None = None
        """The run that connections must belong to (PROTOCOL R15); None accepts any.

        The server's run id and the id of the history that it is the master of: a master that was replaced and comes
        back may be the same process with older data.
        """

    def lend(self, write: bool) -> Wire:
        """A connection that may be believed; with `write`, here and below, what fails is `NotApplied` or `Ambiguous`."""
        try:
            wire = self.idle.pop()
        except IndexError:
            wire = self._take(write)
        return wire if self.is_believed(wire, time.monotonic()) else self._believed(wire, write)

    def give_back(self, wire: Wire) -> None:
        """`wire` has answered all that it was asked."""
        self.idle.append(wire)
        if self._closed:
            self.forget_idle()
        if self._waiting:
            with self._places:
                self._returned.notify()

    def failure(self, wire: Wire, error: BaseException, write: bool, *, sent: bool = True) -> BaseException:
        """What to raise for `error` on `wire`. A server's answer leaves the connection whole, but for its last; all else ends it."""
        if isinstance(error, ResponseError) and not isinstance(error, ReadOnlyError):
            self.lose(wire) if is_last(error) else self.give_back(wire)
        else:
            self.lose(wire)
            if not isinstance(error, TimeoutError):
                self.forget_idle()  # the others are as dead, or lead to a server that is no longer the master
        pass_on(error)
        if isinstance(error, (redis.RedisError, OSError, Restarted)):
            return store_error(error, self.name, write=write, sent=sent)
        return error

    def lose(self, wire: Wire) -> None:
        """Close what was lent, or was idle."""
        wire.close()
        if wire.place is not None:
            self._free(wire.place)

    def is_believed(self, wire: Wire, now: float) -> bool:
        """Whether `wire` need not say at this moment (monotonic) where it leads."""
        return now <= wire.believed_until and (wire.run is self.run_id or self.run_id is None)

    def prepare(self, wire: Wire | None) -> Wire:
        """A connection beside the pool that may be believed: a new one, or `wire`, greeted again."""
        return self.connect() if wire is None else self._met(wire)

    def discard(self, wire: Wire, error: BaseException | None) -> None:
        """End a connection that is beside the pool."""
        wire.close()
        if not isinstance(error, TimeoutError | None):
            self.forget_idle()  # as in `failure`

    def connect(self) -> Wire:
        """A connection beside the pool that may be believed."""
        return self._met(self.open())

    def open(self) -> Wire:
        """A connection beside the pool that was not greeted yet."""
        self.check_open(StoreUnavailable)
        connection: Any = self._target.make(**self._target.arguments)
        try:
            connection.connect()
            return Wire(connection, self._timeout, self._target.max_reply)
        except BaseException:
            connection.disconnect()
            raise

    def greet(self, wire: Wire) -> str:
        """Learn the server's run and its clock; a replica is no server to believe."""
        server, replication, clock = wire.ask_many(_HANDSHAKE)
        facts = _facts(server) | _facts(replication)
        if not isinstance(clock, Exception):  # a user without TIME: writes then carry no time limit
            self.ahead = int(clock[0]) + int(clock[1]) / 1e6 - time.monotonic()
        if "run_id" not in facts:
            raise ResponseError("INFO has no run_id; is this a Redis server?")
        if facts.get("role", "master") != "master":
            raise ReadOnlyError("the server is a replica; connect to its master, or through Sentinel or Cluster")
        return sys.intern(f"{facts['run_id']}/{facts.get('master_replid', '')}")  # compared by `is` before each command

    def forget_idle(self) -> None:
        """Close idle connections: new ones learn the server's run and clock anew."""
        while True:
            try:
                wire = self.idle.pop()
            except IndexError:
                return
            self.lose(wire)

    def check_open(self, failed: type[StoreError]) -> None:
        """Raise this once it is closed."""
        if self._closed:
            raise failed("closed; build a new one", tier=self.name)

    def close(self) -> None:
        """Close idle connections now and the others when they come back. Idempotent."""
        self._closed = True
        self.forget_idle()

    # Private

    def _believed(self, wire: Wire, write: bool) -> Wire:
        """A connection in place of one that leads to another run, or that has not said for a while where it leads."""
        while True:
            if time.monotonic() > wire.believed_until and not self._greeted_again(wire, write):
                wire = self._take(write)
                continue  # it may be one that has to say again where it leads
            if wire.run is self.run_id or self.run_id is None:
                return wire
            self.lose(wire)
            wire = self._take(write)

    def _greeted_again(self, wire: Wire, write: bool) -> bool:
        """See that `wire` still leads to a master; nothing of the call was sent when it does not.

        False if it is dead: its server may have been started again since it was used.
        """
        try:
            self._meet_on(wire)
            return True
        except (redis.ConnectionError, ConnectionError) as error:
            self.lose(wire)
            self.forget_idle()
            pass_on(error)
            return False
        except BaseException as error:
            replaced = isinstance(error, ReadOnlyError) and self.run_id is not None
            raise self.failure(wire, Restarted() if replaced else error, write, sent=False) from error

    def _take(self, write: bool) -> Wire:
        """An idle connection, a new one, or the first that comes back in time."""
        failed = NotApplied if write else StoreUnavailable
        end = time.monotonic() + self._timeout
        with self._places:
            self.check_open(failed)
            self._waiting += 1  # before the look, so that whoever gives back later sees that somebody waits
            try:
                while True:
                    try:
                        return self.idle.pop()
                    except IndexError:
                        pass  # none is idle: there may be a place for a new one
                    if len(self.opened) < self._limit:
                        self.opened.add(place := Place())
                        break
                    if not self._returned.wait(end - time.monotonic()):
                        message = f"all {self._limit} connections of this process are in use; raise max_connections"
                        raise failed(message, tier=self.name, reason=Reason.BUSY)
            finally:
                self._waiting -= 1
        try:
            wire = self.connect()
            wire.place = place
            return wire
        except BaseException as error:
            self._free(place)
            pass_on(error)
            if not isinstance(error, (redis.RedisError, OSError, Restarted)):
                raise
            raise store_error(error, self.name, write=write, sent=False) from error

    def _met(self, wire: Wire) -> Wire:
        """Greeted, and the run that is believed in; otherwise closed."""
        try:
            self._meet_on(wire)
            if wire.run is not self.run_id is not None:
                raise Restarted
        except BaseException:
            wire.close()
            raise
        return wire

    def _meet_on(self, wire: Wire) -> None:
        since = time.monotonic()
        wire.run = self.reached = self.greet(wire)
        wire.believed_until = since + BELIEF

    def _free(self, place: Place) -> None:
        with self._places:
            self.opened.discard(place)
            self._returned.notify()


def is_last(reply: object) -> bool:
    """Whether the connection is to end with it. A server that has no room keeps the buffer of a large command with its
    connection: as much again; and it closes that on which it was told more than it reads (`proto-max-bulk-len`)."""
    return isinstance(reply, ResponseError) and (reason_of(reply) is Reason.FULL or str(reply).startswith(_CLOSING))


def _facts(info: Any) -> dict[str, str]:
    """The fields of an INFO reply."""
    if isinstance(info, Exception):
        raise info
    return dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
